"""Writes files that appear only when they are complete."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from jobs.errors import StorageError

# Records are written one by one; with the usual 8 KiB, every twenty boxes would be a system call.
BUFFER_BYTES = 2**20


@contextlib.contextmanager
def appearing(paths: Sequence[Path]) -> Iterator[list[IO[bytes]]]:
    """Open new files with hidden names beside `paths`, and rename them to `paths` at the end of the block.

    Folders are created. After an error no new file is left. Raises StorageError when something cannot be written.
    """
    temporary = [path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp") for path in paths]
    try:
        with contextlib.ExitStack() as stack:
            files: list[IO[bytes]] = []
            for path in temporary:
                path.parent.mkdir(parents=True, exist_ok=True)
                files.append(stack.enter_context(path.open("xb", buffering=BUFFER_BYTES)))
            yield files
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        for source, path in zip(temporary, paths, strict=True):
            os.replace(source, path)
    except OSError as error:
        raise StorageError(
            f"{paths[0].parent}: {paths[0].name} cannot be written: {error.strerror}; check permissions and space, or "
            "name another folder with --out"
        ) from error
    finally:
        for path in temporary:
            with contextlib.suppress(OSError):  # the error above has said so already
                path.unlink(missing_ok=True)


def spool(file: IO[bytes]) -> IO[bytes]:
    """A temporary file on the disk of `file`, for what must wait until something else is written."""
    return tempfile.TemporaryFile(dir=Path(file.name).parent, buffering=BUFFER_BYTES)
