from pathlib import Path

import pytest
import torch

from detector.model.checkpoint import load_checkpoint, save_checkpoint

STATE = {"identity": "abc", "epoch": 3, "network": {"weight": torch.arange(6.0).reshape(2, 3)}, "average": None}


def test_a_state_comes_back_to_the_training_that_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "new/last.pt"
    save_checkpoint(path, STATE)
    state = load_checkpoint(path, "abc")
    assert state is not None and state["epoch"] == 3 and state["average"] is None
    assert torch.equal(state["network"]["weight"], STATE["network"]["weight"])
    assert [p.name for p in path.parent.iterdir()] == ["last.pt"]


def test_another_identity_or_no_file_is_no_state(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    assert load_checkpoint(path, "abc") is None
    save_checkpoint(path, STATE)
    assert load_checkpoint(path, "abd") is None


def test_a_kill_while_writing_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)

    def killed(state: object, file: object) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", killed)
        save_checkpoint(path, STATE | {"epoch": 4})
    assert load_checkpoint(path, "abc")["epoch"] == 3
    save_checkpoint(path, STATE | {"epoch": 5})  # what the kill left is not in the way
    assert load_checkpoint(path, "abc")["epoch"] == 5
