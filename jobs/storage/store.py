"""The interface of a store, which folders and S3 prefixes share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


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
    """One object of a listing. S3 gives an ETag; a folder gives a modification time."""

    key: str
    size: int  # bytes
    etag: str | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True)
class Content:
    """The bytes of one object and their version."""

    data: bytes
    etag: str
    version_id: str | None = None


class Store(Protocol):
    """A folder or an S3 prefix; `uri` ends with `/`, and keys are relative to it.

    Methods may be called from several threads. An `ItemError` concerns a single image; every other error is
    a `StorageError`.
    """

    uri: str

    def list(self) -> Iterator[Entry]:
        """Every object below, in no particular order."""

    def fetch(self, image: ImageVersion) -> Content:
        """The bytes of the listed version; raises ItemError `missing`, `forbidden` or `changed`."""

    def read(self, key: str) -> bytes | None:
        """The bytes of an object that a run has written; None where there is none."""

    def read_version(self, key: str) -> Content | None:
        """The bytes as `read` returns them, with the version that `swap` needs."""

    def write(self, key: str, data: bytes) -> None:
        """Write an object in one step: readers see the old bytes or the new ones."""

    def swap(self, key: str, data: bytes, etag: str | None) -> bool:
        """Write as `write` does if the version is still `etag` (None: if there is no object); False if it is not."""
