"""Chooses devices, seeds, and the numbers of processes and threads of a training."""

from __future__ import annotations

import os
from typing import Literal

import numpy as np
import torch

from detector.common.cores import cores
from detector.common.errors import TrainingError

# Each process of a training takes at least this many images of a batch: with fewer, its matrices are too small.
_LEAST_IMAGES = 4


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


def choose_processes(wanted: int | Literal["auto"], device: torch.device, batch_size: int) -> int:
    """Return the number of processes of this machine that share each batch of a training.

    auto: on a CPU one for each usable thread, if each has at least four images and all have equally many; one process
    with two threads would wait at every layer for the slower one, which another program may delay. On other devices it
    is one. Raises TrainingError if a wanted number does not divide the batch.
    """
    if wanted == "auto":
        if device.type != "cpu":
            return 1
        most = min(usable_threads(), batch_size // _LEAST_IMAGES)
        return max((count for count in range(1, most + 1) if batch_size % count == 0), default=1)
    if device.type != "cpu" and wanted > 1:
        raise TrainingError("train.processes is for CPUs: set it to auto, and use torchrun for several GPUs")
    if batch_size % wanted:
        raise TrainingError(
            f"train.processes {wanted} cannot share batches of {batch_size} images: let it divide train.batch_size"
        )
    return wanted


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
