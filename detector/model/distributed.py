"""Runs processes that train one network: `torchrun` starts them on GPUs, `run_together` on a CPU."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes

from detector.common.errors import DetectorError, TrainingError


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
    """Return whether torchrun or `run_together` started this process as one of several."""
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
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def run_together(processes: int, threads: int, work: Callable[..., None], *arguments: Any) -> None:
    """Call `work(*arguments)` in `processes` new processes of this machine, each with `threads` threads.

    With one process it is called in this one. `work` must be a function of a module, because each process imports it;
    the processes connect through `join`. If one fails, the others are stopped and its error is raised: a DetectorError
    as it is, and any other as a TrainingError.
    """
    if processes == 1:
        torch.set_num_threads(threads)
        work(*arguments)
        return
    with tempfile.TemporaryDirectory(prefix="boxcar-") as folder:
        failure = Path(folder, "failure")
        context = start_processes(
            _member,
            (processes, threads, _free_port(), failure, work, arguments),
            processes,
            join=False,
            start_method="spawn",
        )
        assert context is not None  # it is None only if start_processes itself joins
        try:
            while not context.join():
                pass
        except (ProcessRaisedException, ProcessExitedException) as error:
            if failure.exists():
                raise pickle.loads(failure.read_bytes()) from error
            raise TrainingError(f"a training process ended unexpectedly (out of memory?): {error}") from error


def _member(
    rank: int, size: int, threads: int, port: int, failure: Path, work: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    """Run one process: set the variables that torchrun sets, and store an error, which the parent raises."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all processes are on one machine, which may have no network
    torch.set_num_threads(threads)
    try:
        work(*arguments)
    except DetectorError as error:
        failure.write_bytes(pickle.dumps(error))
        raise


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
