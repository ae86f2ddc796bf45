from pathlib import Path

import boto3
import pytest
import torch

from detector.common.errors import TrainingError, WeightsError
from detector.model.checkpoint import load_checkpoint, remove_others, save_checkpoint
from tests.support.local_s3 import LocalS3

STATE = {"identity": "abc", "epoch": 3, "network": {"weight": torch.arange(6.0).reshape(2, 3)}, "average": None}


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The place of checkpoints: a folder that does not exist yet, or a prefix in a bucket."""
    if request.param == "folder":
        return str(tmp_path / "new/checkpoints")
    server: LocalS3 = request.getfixturevalue("s3_server")
    for name, value in server.environment().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_CONFIG_FILE")  # s3fs refuses /dev/null
    monkeypatch.delenv("AWS_SHARED_CREDENTIALS_FILE")
    monkeypatch.setenv("HOME", str(tmp_path))
    bucket = f"checkpoints-{len(list(server.root.iterdir()))}"
    boto3.session.Session().client("s3", endpoint_url=server.endpoint).create_bucket(Bucket=bucket)
    return f"s3://{bucket}/run/checkpoints"


def test_a_state_comes_back_to_the_training_that_wrote_it(place: str) -> None:
    assert load_checkpoint(f"{place}/last.pt", "abc") is None  # there is nothing yet
    save_checkpoint(f"{place}/last.pt", STATE)
    save_checkpoint(f"{place}/last.pt", STATE | {"epoch": 4})
    state = load_checkpoint(f"{place}/last.pt", "abc")
    assert state is not None and state["epoch"] == 4 and state["average"] is None
    assert torch.equal(state["network"]["weight"], STATE["network"]["weight"])
    assert load_checkpoint(f"{place}/last.pt", "abd") is None


def test_only_the_checkpoint_of_the_finished_training_stays(place: str) -> None:
    for name in ("a", "b", "c"):
        save_checkpoint(f"{place}/{name}.pt", STATE)
    remove_others(place, f"{place}/b.pt")
    assert [load_checkpoint(f"{place}/{name}.pt", "abc") is not None for name in ("a", "b", "c")] == [
        False,
        True,
        False,
    ]


def test_a_kill_while_writing_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "last.pt")
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


def test_a_state_that_cannot_be_written_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_bytes(b"")
    save_checkpoint(str(tmp_path / "file/last.pt"), STATE)
    assert "last.pt: the checkpoint could not be written" in capsys.readouterr().err


def test_a_damaged_state_is_named_with_a_way_on(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(WeightsError, match=r"last\.pt cannot be read.*delete it to train from the start"):
        load_checkpoint(str(tmp_path / "last.pt"), "abc")


def test_a_place_of_an_unknown_kind_is_named() -> None:
    with pytest.raises(TrainingError, match=r"nosuch://bucket/last\.pt: .*name a folder or s3://"):
        load_checkpoint("nosuch://bucket/last.pt", "abc")
