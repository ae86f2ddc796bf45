import subprocess
import sys

import pytest
import torch

from detector.runtime import choose_device


@pytest.mark.parametrize("usable", [True, False])
def test_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, usable: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    assert choose_device("auto").type == ("cuda" if usable else "cpu")
    assert choose_device("cpu").type == "cpu" and choose_device("cuda").type == "cuda"


def test_a_seed_gives_the_same_numbers_in_every_process() -> None:
    program = """
import numpy as np, torch
from detector.runtime import make_deterministic
make_deterministic({seed})
assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()
print(np.random.rand(3), torch.rand(3))
"""
    printed = [
        subprocess.run([sys.executable, "-c", program.format(seed=seed)], capture_output=True, text=True, check=True)
        for seed in (7, 7, 8)
    ]
    assert printed[0].stdout == printed[1].stdout != printed[2].stdout
