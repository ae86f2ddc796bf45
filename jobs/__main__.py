"""The entry point of `boxcar` and of `python -m jobs`."""

from __future__ import annotations

import os
import sys

from jobs.cli import main
from jobs.streams import LostOutput, guard_streams, leave_without_output


def boxcar() -> None:
    """Run the command and end at once with its exit code: threads may hang in downloads for minutes."""
    guard_streams()
    try:
        try:
            main(prog_name="boxcar")
        except SystemExit as end:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code if isinstance(end.code, int) else 0 if end.code is None else 1)
    except LostOutput as lost:
        leave_without_output(lost)


if __name__ == "__main__":
    boxcar()
