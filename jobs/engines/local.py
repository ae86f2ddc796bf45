"""Threads of this process and, on a machine of many cores, several such processes."""

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
from jobs.progress import TerminalProgress
from jobs.storage import Store, open_store
from jobs.worker import PartTask, Worker

# Of the 40 ms that an image takes a core, some 3 hold Python's lock: about twelve threads keep it busy.
THREADS_A_PROCESS = 8


def spread(threads: int) -> int:
    """Over how many processes so many threads are spread."""
    return -(-threads // THREADS_A_PROCESS)


def make(
    output: Store, plan: Plan, todo: Iterable[PartTask], threads: int, processes: int, progress: TerminalProgress
) -> None:
    """Make the parts of `todo` with `threads` in all; the network is loaded when there is a first one."""
    waiting = iter(todo)
    first = next(waiting, None)
    if first is None:
        return
    parts = chain([first], waiting)
    if processes == 1:
        with Worker(open_store(plan.input), output, plan, threads=threads) as worker:
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
    """Wait for a part; those that still run."""
    done, others = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        progress.part_elsewhere(future.result())
    return others


def _end_with_parent() -> None:
    """In a worker process: end with the process that started it, however that ends; Ctrl-C is the parent's matter."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
