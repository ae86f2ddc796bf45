"""Writes files that appear as a whole or not at all, and keeps results away from their sources."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[IO[bytes]]:
    """Give a file for the new content of `path`, and put it in place when the block ends without an error.

    If the process is killed, `path` is the old file or the new one. A `.part` file may be left beside it, which the
    next call overwrites.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.part")
    with temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def lies_in(path: Path, folder: Path) -> bool:
    """Return whether `path` is `folder` or something in it, after links are followed; neither needs to exist."""
    return path.resolve().is_relative_to(folder.resolve())
