"""SIGTERM: spot reclaims and time limits end a worker at any moment, and the next one resumes."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# What shells and schedulers call a process that a signal ended: 128 + its number.
EXIT_SIGTERM, EXIT_SIGINT = 143, 130


class Stopped(BaseException):
    """SIGTERM came. Like KeyboardInterrupt no Exception, so that no library takes it for a failure of its own."""


@contextlib.contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Within this block SIGTERM raises Stopped in the main thread, which waits for a write on its way."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough; the clean-up must not be interrupted
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
