"""Connects the processes that train one network; `torchrun` starts them, one for each GPU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

# The others wait while the first process measures the network on val, for more than NCCL's ten minutes if val is large.
# If a process dies, torchrun ends them all at once.
_LONGEST_WAIT = timedelta(hours=12)


@dataclass(frozen=True)
class World:
    """The rank of this process among all; rank 0 also writes and reports."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Return whether this process writes and reports."""
        return self.rank == 0

    def sum(self, values: dict[str, float]) -> dict[str, float]:
        """Return the sums over all processes, each of which must call this with the same names."""
        if self.size == 1:
            return values
        # NCCL adds only on GPUs.
        device = torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")
        total = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
        distributed.all_reduce(total)
        return dict(zip(values, total.tolist(), strict=True))


def under_torchrun() -> bool:
    """Return whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_device(device: torch.device) -> torch.device:
    """Return the GPU of this process among those of its machine; other devices are shared."""
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


@contextlib.contextmanager
def join(device: torch.device) -> Iterator[World]:
    """Connect to the other processes of this training, if there are any, until the block ends.

    Reads the variables that torchrun sets: RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.
    """
    if not under_torchrun():
        yield World()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_LONGEST_WAIT)
    try:
        yield World(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
