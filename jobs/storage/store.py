"""The interface of a store, which folders and S3 prefixes share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from detector.common.content_coding import unpacked
from jobs.errors import ItemError, JobError


class ImageVersion(Protocol):
    """One object in the version that a listing saw: an `Entry`, or an image of a plan."""

    @property
    def key(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def etag(self) -> str | None: ...
    @property
    def mtime_ns(self) -> int | None: ...


@dataclass(frozen=True)
class Entry:
    """One object of a listing. S3 gives an ETag; a folder gives a modification time.

    A key that ends with `/` is a folder whose files are not listed. `problem` is the error that planning this object
    must end with, unless it is left out.
    """

    key: str
    size: int  # bytes
    etag: str | None = None
    mtime_ns: int | None = None
    problem: JobError | None = None


@dataclass(frozen=True)
class Content:
    """The bytes of one object as they are stored, and their version; encoding: S3's Content-Encoding."""

    data: bytes
    etag: str
    version_id: str | None = None
    encoding: str = ""

    def decoded(self) -> bytes:
        """The bytes after the Content-Encoding is undone, as browsers do; raises ItemError `too_large` where they
        are too many."""
        try:
            return unpacked(self.data, self.encoding)
        except OverflowError as error:
            raise ItemError("too_large") from error


def is_hidden(key: str) -> bool:
    """Whether a part of the key begins with a dot, or is __MACOSX: such files hold settings, thumbnails, or what macOS
    adds to every file of an archive."""
    return key.startswith((".", "__MACOSX/")) or "/." in key or "/__MACOSX/" in key


class Store(Protocol):
    """A folder or an S3 prefix; `uri` ends with `/`, and keys are relative to it.

    Methods may be called from several threads. An `ItemError` concerns a single image; every other error is
    a `StorageError`.
    """

    uri: str

    def list(self, *, hidden: bool = False) -> Iterator[Entry]:
        """Every object below, in no particular order. Folders of a file system that are hidden (`is_hidden`) are
        entered only if `hidden`."""

    def fetch(self, image: ImageVersion) -> Content:
        """The bytes of the listed version; raises ItemError `missing`, `forbidden` or `changed`."""

    def holds(self, key: str) -> bool:
        """Whether there is an object with this key now."""

    def require_same(self) -> None:
        """Raise StorageError when this is not the store that it was when it was opened."""

    def read(self, key: str) -> bytes | None:
        """The bytes of an object that a run has written; None where there is none."""

    def read_version(self, key: str) -> Content | None:
        """The bytes as `read` returns them, with the version that `swap` needs."""

    def write(self, key: str, data: bytes) -> None:
        """Write an object in one step: readers see the old bytes or the new ones."""

    def swap(self, key: str, data: bytes, etag: str | None) -> bool:
        """Write as `write` does if the version is still `etag` (None: if there is no object); False if it is not."""

    def remove(self, key: str) -> None:
        """Remove an object."""
