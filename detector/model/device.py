"""Seeds and devices."""

from __future__ import annotations

import os
from typing import Literal

import numpy as np
import torch

from detector.common.errors import TrainingError


def choose_device(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """auto: CUDA where there is a usable GPU, else the CPU. Raises TrainingError for a GPU that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("train.device is cuda, but torch finds no usable GPU: set it to auto or cpu")
    return torch.device(name)


def make_deterministic(seed: int) -> None:
    """Call before the first computation: seed every generator and ask for the same numbers again.

    Where a GPU has no such kernel (the gradient of RoIAlign), torch says so once and goes on.
    """
    np.random.seed(seed)
    torch.manual_seed(seed)
    # Conditions of the matrix libraries, read when each is first used. Without MKL's, float32 sums over two threads
    # differ in the last bits with the alignment of memory; with it they take no longer.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # That mode also fills every new tensor, to expose reads of memory nobody wrote: a fifth of a training step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
