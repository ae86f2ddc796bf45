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
from typing import BinaryIO

from jobs.errors import ItemError, StorageError, UsageError
from jobs.storage.store import Content, Entry, ImageVersion, is_hidden

# There is no such file: the path leads through a file, or a link leads nowhere or to itself.
NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
# There is something else: a folder, a pipe, a socket or a device.
NO_FILE = frozenset({errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP})


class FolderStore:
    """A folder on this machine.

    Links to files are read. Links to folders are not followed, because they may form a ring.
    """

    def __init__(self, path: str) -> None:
        self.root = Path(os.path.realpath(path))
        self.uri = f"{self.root.as_posix().rstrip('/')}/"
        self._identity = _identity(self.root)

    def list(self, *, hidden: bool = False) -> Iterator[Entry]:
        """Every regular file below the folder. A folder that may not be listed, or that is hidden and not entered, is
        an entry of its own."""
        if self.root.is_file():
            raise UsageError(f"{self.root}: is a file; give its folder, and the file's name with --include")
        if not self.root.is_dir():
            raise StorageError(f"{self.root}: no such folder; check the path, and whether its volume is mounted")
        unreadable: list[OSError] = []
        for folder, subfolders, names in os.walk(self.root, onerror=unreadable.append):
            if not hidden:
                keys = {name: f"{self._key(folder, name)}/" for name in subfolders}
                yield from (Entry(key, 0) for key in keys.values() if is_hidden(key))
                subfolders[:] = [name for name, key in keys.items() if not is_hidden(key)]
            for name in names:
                if (entry := self._entry(folder, name)) is not None:
                    yield entry
        for error in unreadable:
            key = self._key(error.filename, "")
            problem = _unlisted(error.filename, error)
            if not key:
                raise problem
            yield Entry(f"{key}/", 0, problem=problem)

    def _key(self, folder: str, name: str) -> str:
        """The key of a file or folder in UTF-8; bytes that are not UTF-8 are shown as \\xNN."""
        below = os.fsencode(Path(folder, name))[len(os.fsencode(self.root)) :]
        return below.lstrip(b"/").decode(errors="backslashreplace")

    def _entry(self, folder: str, name: str) -> Entry | None:
        """The entry of a file; None for what is no file."""
        key, path = self._key(folder, name), Path(folder, name)
        try:
            status = _stat(path)
        except OSError as error:
            return Entry(key, 0, problem=_unlisted(path, error))
        if status is None:
            return None
        try:
            str(path).encode()
        except UnicodeEncodeError:
            problem = UsageError(
                f"{self.uri}{key}: the name is not UTF-8; rename it, or leave the file out with --exclude"
            )
            return Entry(key, status.st_size, problem=problem)
        return Entry(key, status.st_size, mtime_ns=status.st_mtime_ns)

    def fetch(self, image: ImageVersion) -> Content:
        """The bytes of a file whose size and time are those of the listing; the ETag is their MD5."""
        path = self.root / image.key
        try:
            with _opened(path) as file:
                status = os.fstat(file.fileno())
                same = (status.st_size, status.st_mtime_ns) == (image.size, image.mtime_ns)
                data = file.read() if same else b""
        except PermissionError as error:
            raise ItemError("forbidden", f"{error.strerror}; let this user read the files") from error
        except OSError as error:
            if error.errno in NOWHERE:
                raise ItemError("missing") from error
            if error.errno in NO_FILE:
                raise ItemError("changed", "no regular file any more") from error
            raise StorageError(f"{path}: cannot be read: {error.strerror}; check the disk and run again") from error
        if not same or len(data) != image.size:
            raise ItemError("changed", "its size or time is not as planned")
        return Content(data, _md5(data))

    def holds(self, key: str) -> bool:
        """See Store."""
        try:
            os.stat(self.root / key)
        except OSError as error:
            return error.errno not in NOWHERE
        return True

    def require_same(self) -> None:
        """See Store."""
        if self._identity is None or _identity(self.root) != self._identity:
            raise StorageError(
                f"{self.root}: is gone, or is another folder than when this command began, or a volume below it is; "
                "check what is mounted, then run again"
            )

    def read(self, key: str) -> bytes | None:
        """See Store."""
        path = self.root / key
        try:
            with _opened(path) as file:
                return file.read()
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

    def remove(self, key: str) -> None:
        """See Store."""
        with _write_errors(self.root / key):
            (self.root / key).unlink(missing_ok=True)


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


def _identity(root: Path) -> tuple[object, ...] | None:
    """What tells a folder from another one at the same path, such as the mount point of a volume that is gone: its
    device and inode, and the volumes that are mounted below it."""
    try:
        status = root.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, _volumes_below(root)


def _volumes_below(root: Path) -> tuple[str, ...]:
    """The devices and mount points below a folder, as Linux lists them (proc(5), mountinfo); none elsewhere."""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ()
    below = f"{root.as_posix().rstrip('/')}/".replace(" ", "\\040")
    return tuple(sorted(f"{fields[2]} {fields[4]}" for line in lines if (fields := line.split())[4].startswith(below)))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file, for reading. Without O_NONBLOCK, opening a pipe would wait for ever for somebody who writes."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.ENODEV, "no regular file", str(path))
        yield file


def _unlisted(path: str | Path, error: OSError) -> StorageError:
    """The error for what cannot be listed: images must not be lost without notice."""
    return StorageError(
        f"{path}: cannot be listed: {error.strerror}; check its permissions, or leave it out with --exclude "
        "(a folder with /* behind its name)"
    )


def _stat(path: Path) -> os.stat_result | None:
    """The status of a file; None for a pipe or a socket, or a file that was removed since its folder was read.

    A link that leads nowhere is planned, so that its record says `missing`. Raises OSError.
    """
    for look in (path.stat, path.lstat):
        try:
            status = look()
        except OSError as error:
            if error.errno in NOWHERE:
                continue
            raise
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
