"""SIGTERM: spot reclaims and time limits end a worker at any moment, and the next one resumes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# What shells and schedulers call a process that a signal ended: 128 + its number.
EXIT_SIGTERM, EXIT_SIGINT = 143, 130


# For the clean-up, which may meet a request that hangs; nothing depends on it, since every write is atomic.
LONGEST_SECONDS = 8.0


class StopSignal(BaseException):
    """SIGTERM came. Like KeyboardInterrupt no Exception, so that no library takes it for a failure of its own."""


def _leave(*_arguments: object) -> None:
    os.write(2, b"stopped by SIGTERM; run the same command again to resume\n")
    os._exit(EXIT_SIGTERM)


@contextlib.contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Within this block SIGTERM raises StopSignal in the main thread, which waits for a write on its way."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, _leave)  # whoever asks twice does not want to wait
        limit = threading.Timer(LONGEST_SECONDS, _leave)
        limit.daemon = True
        limit.start()
        raise StopSignal

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
