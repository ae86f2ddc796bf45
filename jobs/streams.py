"""Standard output and standard error that nobody reads any more, that are closed, or that do not fit on a disk."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Any, TextIO

# Shells report a process that the signal of a closed pipe ended as 128 + its number.
EXIT_LOST_OUTPUT = 141


class LostOutput(BaseException):
    """A standard stream cannot be written. It is not an Exception, so that no library handles it as its own failure."""

    def __init__(self, stream: int, error: OSError) -> None:
        super().__init__(stream, error)
        self.stream = stream
        self.error = error


class _Stream(io.FileIO):
    def write(self, data: Any, /) -> int:
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])  # a pipe that does not wait, and whose reader is slow
            return written
        except OSError as error:
            raise LostOutput(self.fileno(), error) from error


def guard_streams() -> None:
    """Let a write to standard output or standard error that fails raise LostOutput, from now on in this process.

    A stream that was closed when the process began is opened on the null device. Otherwise the next file that is opened
    would get its number, and with it whatever a library prints.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - it stays open
    sys.stdout = _guarded(1, sys.stdout)
    sys.stderr = _guarded(2, sys.stderr)


def _guarded(number: int, stream: TextIO | None) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(_Stream(number, "w", closefd=False)),
        encoding=getattr(stream, "encoding", "utf-8"),
        errors=getattr(stream, "errors", None) or "backslashreplace",
        line_buffering=number == 2 or os.isatty(number),
    )


def leave_without_output(lost: LostOutput) -> None:
    """End the process. A pipe that nobody reads needs no message; for another reason, the other stream gets one."""
    if not isinstance(lost.error, BrokenPipeError) and lost.stream != 2:
        message = (
            f"error: standard output cannot be written: {lost.error.strerror}; run the same command again to resume"
        )
        os.write(2, f"{message}\n".encode())
    os._exit(EXIT_LOST_OUTPUT)
