"""The entry point of `boxcar` and of `python -m jobs`."""

from __future__ import annotations

import os
import sys

from jobs.cli import main


def boxcar() -> None:
    """Run the command and end at once with its exit code: threads may hang in downloads for minutes."""
    try:
        main(prog_name="boxcar")
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 0 if end.code is None else 1)


if __name__ == "__main__":
    boxcar()
