from collections.abc import Iterator

import numpy as np
import pytest
import torch

from detector.common.errors import TrainingError
from detector.model import device
from detector.model.device import choose_device, make_deterministic, usable_threads


@pytest.mark.parametrize("usable", [True, False])
def test_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, usable: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    assert choose_device("auto").type == ("cuda" if usable else "cpu")
    assert choose_device("cpu").type == "cpu"


def test_a_gpu_that_is_asked_for_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cuda").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match="set it to auto or cpu"):
        choose_device("cuda")


@pytest.fixture
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Other tests keep torch as they found it."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    mode = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    yield
    torch.use_deterministic_algorithms(mode[0], warn_only=mode[1])


@pytest.mark.usefixtures("as_before")
def test_a_seed_gives_the_same_numbers_again() -> None:
    drawn = []
    for seed in (7, 7, 8):
        make_deterministic(seed)
        drawn.append((np.random.random(3).tolist(), torch.rand(3).tolist()))
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[2][0] and drawn[0][1] != drawn[2][1]


@pytest.mark.usefixtures("as_before")
def test_torch_uses_deterministic_kernels_and_warns_where_there_are_none() -> None:
    make_deterministic(1)
    assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()


def test_threads_are_bounded_by_torch_and_by_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    for torchs, containers in ((64, 2), (1, 2)):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=torchs: count)
        monkeypatch.setattr(device, "cores", lambda count=containers: count)
        assert usable_threads() == min(torchs, containers)
