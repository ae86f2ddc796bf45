"""Chooses devices, seeds and the number of threads of a training."""

from __future__ import annotations

import os
from typing import Literal

import numpy as np
import torch

from detector.common.cores import cores
from detector.common.errors import TrainingError


def choose_device(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Return the device of `train.device`; auto is CUDA if there is a usable GPU, and the CPU otherwise.

    Raises TrainingError if there is no GPU.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("train.device is cuda, but torch finds no usable GPU: set it to auto or cpu")
    return torch.device(name)


def usable_threads() -> int:
    """Return the threads that a computation may use: torch's number, at most the container's share of the machine."""
    return min(torch.get_num_threads(), cores())


def make_deterministic(seed: int) -> None:
    """Seed every generator and make results repeatable; call it before the first computation.

    If a GPU has no repeatable kernel, as for the gradient of RoIAlign, torch warns once and continues.
    """
    np.random.seed(seed)
    torch.manual_seed(seed)
    # The matrix libraries read these when they are first used. Without MKL's setting, float32 sums over two threads
    # differ in the last bits with the alignment of memory; with it they take no longer.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # That mode also fills every new tensor, to expose reads of uninitialised memory, which takes a fifth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
