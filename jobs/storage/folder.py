"""A folder of this machine as a store."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from jobs.errors import ItemError, StorageError, UsageError
from jobs.storage.store import Content, Entry, ImageVersion

# There is no such file: the path leads through a file, or a link leads nowhere or to itself.
NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class FolderStore:
    """A folder on this machine.

    Files and folders whose names begin with a dot are not listed: files that are being written have such names. Links
    to files are read. Links to folders are not followed, because they may form a ring.
    """

    def __init__(self, path: str) -> None:
        self.root = Path(os.path.realpath(path))
        self.uri = f"{self.root.as_posix().rstrip('/')}/"

    def list(self) -> Iterator[Entry]:
        """Every regular file below the folder; see the class for what is left out."""
        if not self.root.is_dir():
            raise StorageError(f"{self.root}: no such folder; check the path")
        for folder, subfolders, names in os.walk(self.root, onerror=_unreadable_folder):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            for name in names:
                path = Path(folder, name)
                if name.startswith(".") or (status := _stat(path)) is None:
                    continue
                key = path.relative_to(self.root).as_posix()
                try:
                    key.encode()
                except UnicodeEncodeError as error:
                    raise UsageError(f"{os.fsencode(path)!r}: the name is not UTF-8; rename the file") from error
                yield Entry(key, status.st_size, mtime_ns=status.st_mtime_ns)

    def fetch(self, image: ImageVersion) -> Content:
        """The bytes of a file whose size and time are those of the listing; the ETag is their MD5."""
        path = self.root / image.key
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                data = file.read() if (status.st_size, status.st_mtime_ns) == (image.size, image.mtime_ns) else None
        except IsADirectoryError as error:
            raise ItemError("changed") from error
        except PermissionError as error:
            raise ItemError("forbidden") from error
        except OSError as error:
            if error.errno in NOWHERE:
                raise ItemError("missing") from error
            raise StorageError(f"{path}: cannot be read: {error.strerror}; check the disk and run again") from error
        if data is None or len(data) != image.size:
            raise ItemError("changed")
        return Content(data, _md5(data))

    def read(self, key: str) -> bytes | None:
        """See Store."""
        path = self.root / key
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error

    def write(self, key: str, data: bytes) -> None:
        """Write a hidden temporary file, and rename it."""
        path = self.root / key
        with _write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, data)

    def read_version(self, key: str) -> Content | None:
        """See Store."""
        data = self.read(key)
        return None if data is None else Content(data, _md5(data))

    def swap(self, key: str, data: bytes, etag: str | None) -> bool:
        """See Store. It locks the folder; every `swap` takes this lock, but `write` does not."""
        path = self.root / key
        with _write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(path.parent):
                found = self.read_version(key)
                if (None if found is None else found.etag) != etag:
                    return False
                _replace(path, data)
                return True


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}; check permissions and space") from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder. It holds among processes of this machine, and of others if the file system shares
    locks."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _unreadable_folder(error: OSError) -> NoReturn:
    """Raise StorageError when a folder cannot be listed: its images would be lost without notice."""
    raise StorageError(f"{error.filename}: cannot be listed: {error.strerror}; check its permissions") from error


def _stat(path: Path) -> os.stat_result | None:
    """The status of a file; None for a pipe or a socket, or a file that was removed since its folder was read.

    A link that leads nowhere is planned, so that its record says `missing`.
    """
    for look in (path.stat, path.lstat):
        try:
            status = look()
        except OSError as error:
            if error.errno in NOWHERE:
                continue
            raise StorageError(f"{path}: cannot be listed: {error.strerror}; check its permissions") from error
        return status if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) else None
    return None


def _replace(path: Path, data: bytes) -> None:
    """Write a file beside `path`, and rename it over `path` when its bytes are on the disk."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # it is not there if the rename has been done
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
