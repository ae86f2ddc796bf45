"""Makes parts on a Ray cluster. Ray schedules and retries; it runs only `make_part`."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterable
from typing import Any

from jobs.engines.part import make_part
from jobs.errors import IncompleteError, JobError, StorageError, UsageError
from jobs.formats import Plan
from jobs.progress import TerminalProgress
from jobs.storage import Store
from jobs.worker import PartTask

# A node that disappears takes its tasks with it, and the same part may be hit several times. Ray also repeats a part
# when storage failed for longer than our own retries last.
TRIES = 8
# Tasks that Ray gets ahead for each core, so that no core waits for the next one.
TASKS_A_CORE = 2
KNOCK_SECONDS = 5.0


def make(output: Store, plan: Plan, todo: Iterable[PartTask], address: str | None, progress: TerminalProgress) -> None:
    """Make the parts of `todo` on the cluster at `address`, or on one that is started on this machine.

    Every core of the cluster makes one part at a time. Every node must be able to reach INPUT and OUTPUT under the
    same name.
    """
    ray = _ray()
    if address is not None:
        _knock(address)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        place = "on this machine" if address is None else f"--address {address}"
        raise UsageError(f"{place}: no Ray cluster answers: {error}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray has set its own handler, which ends with exit 15
    try:
        _map(ray, output, plan, todo, progress)
    finally:
        ray.shutdown()


def _map(ray: Any, output: Store, plan: Plan, todo: Iterable[PartTask], progress: TerminalProgress) -> None:
    task = ray.remote(num_cpus=1, max_retries=TRIES, retry_exceptions=[StorageError])(make_part)
    share = int(max(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"]))
    running: list[Any] = []

    def finish_one() -> None:
        nonlocal running
        done, running = ray.wait(running, num_returns=1)
        try:
            progress.part_elsewhere(ray.get(done[0]))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, JobError):
                raise error.cause from error
            raise
        except ray.exceptions.RayError as error:
            raise IncompleteError(
                f"Ray could not make a part: {error}; run the same command again to resume"
            ) from error

    for part, _ in todo:
        running.append(task.remote(output.uri, plan.digest, part, 1, share))
        while len(running) >= TASKS_A_CORE * max(1, int(ray.cluster_resources().get("CPU", 1))):
            finish_one()
    while running:
        finish_one()


def _knock(address: str) -> None:
    """Raise UsageError when nothing answers at the address: Ray would try for minutes, and then end the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    try:
        socket.create_connection((host, int(port)), KNOCK_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--address {address}: no Ray cluster answers: {error}; give HOST:PORT of its head node, or auto"
        ) from error


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "--engine ray: Ray is not installed; install the extra: pip install '.[ray]' in the project's folder"
        ) from error
    return ray
