"""Temporary folders, and a clear error where none can be written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jobs.errors import StorageError


@contextlib.contextmanager
def temporary_files() -> Iterator[None]:
    """Turn an OSError within the block into a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            # Not gettempdir(): it raises where no folder can be written.
            f"{tempfile.tempdir or os.environ.get('TMPDIR', '/tmp')}: no temporary file can be written: "
            f"{error.strerror}; free some space, or name another folder in TMPDIR"
        ) from error


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A temporary folder that is removed at the end of the block."""
    with temporary_files():
        folder = tempfile.TemporaryDirectory(prefix="boxcar-", ignore_cleanup_errors=True)
    with folder as name:
        yield Path(name)
