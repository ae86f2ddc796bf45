"""Handles SIGTERM: spot reclaims and time limits may end a worker at any moment; the next one resumes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# Shells and schedulers report a process that a signal ended as 128 + the signal's number.
EXIT_SIGTERM, EXIT_SIGINT = 143, 130


# The clean-up may wait for a request that hangs. It may be cut short, since every write is atomic.
LONGEST_SECONDS = 8.0


class StopSignal(BaseException):
    """SIGTERM came. Like KeyboardInterrupt it is not an Exception, so that no library handles it as its own failure."""


def _leave(*_arguments: object) -> None:
    os.write(2, b"stopped by SIGTERM; run the same command again to resume\n")
    os._exit(EXIT_SIGTERM)


@contextlib.contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM raise StopSignal in the main thread within this block; a write that has begun is completed."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, _leave)  # a second signal ends the process at once
        limit = threading.Timer(LONGEST_SECONDS, _leave)
        limit.daemon = True
        limit.start()
        raise StopSignal

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
