"""Makes parts with threads of this process and, on a machine with many cores, with several such processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import chain

from jobs.engines.part import make_part
from jobs.errors import IncompleteError
from jobs.formats import PartStats, Plan
from jobs.plan import open_input
from jobs.progress import TerminalProgress
from jobs.storage import Store
from jobs.worker import PartTask, Worker

# An image takes a core 20 ms or more, and holds Python's lock for about 3 ms of them: six threads would fill it.
THREADS_A_PROCESS = 6


def spread(threads: int) -> int:
    """The number of processes for this number of threads."""
    return -(-threads // THREADS_A_PROCESS)


def make(
    output: Store,
    plan: Plan,
    todo: Iterable[PartTask],
    threads: int,
    processes: int,
    device: str,
    progress: TerminalProgress,
) -> None:
    """Make the parts of `todo` with `threads` threads in all. The network is loaded only when there is a part to
    make. Several processes do not use a GPU, whatever `device` says."""
    waiting = iter(todo)
    first = next(waiting, None)
    if first is None:
        return
    parts = chain([first], waiting)
    if processes == 1:
        with Worker(open_input(plan), output, plan, threads=threads, device=device) as worker:
            for stats in worker.make(parts, progress.images):
                progress.part(stats)
    else:
        _in_processes(output, plan, parts, -(-threads // processes), processes, progress)


def _in_processes(
    output: Store, plan: Plan, todo: Iterable[PartTask], threads: int, processes: int, progress: TerminalProgress
) -> None:
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _end_with_parent)
    running: set[Future[PartStats]] = set()
    try:
        for part, _ in todo:
            running.add(pool.submit(make_part, output.uri, plan.digest, part, threads, processes))
            while len(running) >= 2 * processes:
                running = _next(running, progress)
        while running:
            running = _next(running, progress)
        pool.shutdown()
    except BrokenProcessPool as error:
        raise IncompleteError(
            "a worker process ended unexpectedly (out of memory?); run the same command again to resume, "
            "with fewer --threads or --processes"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _next(running: set[Future[PartStats]], progress: TerminalProgress) -> set[Future[PartStats]]:
    """Wait until a part is made; returns the tasks that still run."""
    done, others = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        progress.part_elsewhere(future.result())
    return others


def _end_with_parent() -> None:
    """Let a worker process end when its parent ends, for whatever reason. Only the parent handles Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
