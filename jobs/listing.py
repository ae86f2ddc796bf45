"""The images of a listing of any length, selected and sorted by key in little memory.

Ten million keys as Python objects would not fit into a small container. While it is sorted, an image is a row of a
temporary SQLite database, with its key in UTF-8, whose bytes give the order. SQLite writes to the disk what exceeds its
cache, so that a small listing never touches the disk.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import heapq
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from json.encoder import encode_basestring as json_string

from jobs.errors import StorageError
from jobs.formats import Filters
from jobs.storage import Entry, is_hidden

# An image while it is sorted: its key in UTF-8, size, ETag and modification time.
ListedImage = tuple[bytes, int, str | None, int | None]
# Given as the extension, it stands for every object; the bytes then say which ones are images.
EVERY = "*"
# The memory for rows, about 100,000 images. Sorting them takes as much again.
CACHE_KIB = 16 * 1024


@dataclass
class ListingCounts:
    """Counts of the entries that a selection has seen so far."""

    images: int = 0
    bytes: int = 0
    other_files: int = 0
    filtered: int = 0
    hidden: int = 0


class Selection:
    """The images that a plan takes from a listing."""

    def __init__(self, filters: Filters) -> None:
        self.counts = ListingCounts()
        self._extensions = None if filters.extensions == [EVERY] else frozenset(filters.extensions)
        self._include = _any_of(filters.include)
        # What an included key begins with, up to the first sign of a pattern.
        self._beginnings = [re.split(r"[*?\[]", glob, maxsplit=1)[0] for glob in filters.include]
        self._exclude = _any_of(filters.exclude)
        self._hidden = filters.hidden

    def images(self, entries: Iterable[Entry]) -> Iterator[ListedImage]:
        """The images that are planned, in the order of the listing; counts all entries.

        Raises the `problem` of an entry that is not left out.
        """
        counts, include, exclude = self.counts, self._include, self._exclude
        for entry in entries:
            key = entry.key
            if not self._hidden and is_hidden(key):
                counts.hidden += 1
            elif key.endswith("/") and entry.problem:
                if self._needs_folder(key):
                    raise entry.problem
                counts.filtered += 1
            elif not self._may_be_image(key):
                counts.other_files += 1
            elif (include and not include.match(key)) or (exclude and exclude.match(key)):
                counts.filtered += 1
            elif entry.problem is not None:
                raise entry.problem
            else:
                counts.images += 1
                counts.bytes += entry.size
                yield key.encode(), entry.size, entry.etag, entry.mtime_ns

    def _needs_folder(self, key: str) -> bool:
        """Whether the images below a folder, whose key ends with /, would be planned if they could be listed."""
        if self._exclude and (self._exclude.match(key) or self._exclude.match(key[:-1])):
            return False
        reached = (start.startswith(key) or key.startswith(start) for start in self._beginnings)
        return not self._beginnings or any(reached)

    def _may_be_image(self, key: str) -> bool:
        stem, _, extension = key.rpartition(".")
        if self._extensions is None:
            return not key.endswith("/")
        # A name that is only an extension is a hidden file.
        return extension.lower() in self._extensions and bool(stem) and stem[-1] != "/"


def sample(images: Iterable[ListedImage], limit: int, counts: ListingCounts) -> list[ListedImage]:
    """`limit` of the images, chosen by a digest of their keys: the same keys give the same choice. The others are
    counted as filtered."""
    chosen = heapq.nsmallest(limit, images, key=lambda image: hashlib.blake2b(image[0]).digest())
    counts.filtered += counts.images - len(chosen)
    counts.images, counts.bytes = len(chosen), sum(image[1] for image in chosen)
    return chosen


def _any_of(globs: list[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs)) if globs else None


def version_of(size: int, etag: str | None, mtime_ns: int | None) -> bytes:
    """An image's version as it stands in its line of the plan. Equal bytes mean equal versions."""
    quoted = "null" if etag is None else json_string(etag)
    return f'"size":{size},"etag":{quoted},"mtime_ns":{"null" if mtime_ns is None else mtime_ns}'.encode()


# How a version ends that has neither ETag nor time: an inventory may have no ETags.
UNKNOWN_VERSION = b'"etag":null,"mtime_ns":null'


def plan_line(key: str, version: bytes, previous: str | None) -> bytes:
    """The bytes of `PlannedImage.canonical()` and a newline, in a quarter of the time."""
    part = "null" if previous is None else json_string(previous)
    return b'{"key":%s,%s,"previous":%s}\n' % (json_string(key).encode(), version, part.encode())


@dataclass(frozen=True, slots=True)
class PreviousImage:
    """An image of the previous plan, and the part that holds its record."""

    key: bytes
    version: bytes
    size: int
    part: str


@dataclass
class CopyCounts:
    """Counts of the images of a plan whose version the previous run has too."""

    images: int = 0
    bytes: int = 0


def plan_lines(
    images: Iterable[ListedImage], earlier: Iterator[PreviousImage], copies: CopyCounts, uri: str
) -> Iterator[bytes]:
    """The plan's lines for sorted images, each with its part of the previous run where the version is the same.

    earlier: the images of the previous plan, sorted alike; may be empty. copies: counts them. Raises StorageError,
    which names `uri`, when a key comes twice.
    """
    there = next(earlier, None)
    last = None
    for key, size, etag, mtime_ns in images:
        if key == last:
            raise StorageError(f"{uri}{key.decode()}: listed twice; check the server, then plan again")
        last = key
        while there is not None and there.key < key:
            there = next(earlier, None)
        previous, version = None, version_of(size, etag, mtime_ns)
        if there is not None and (there.key, there.version) == (key, version) and not version.endswith(UNKNOWN_VERSION):
            previous = there.part
            copies.images += 1
            copies.bytes += there.size
        yield plan_line(key.decode(), version, previous)


def sort_images(images: Iterable[ListedImage]) -> Iterator[ListedImage]:
    """The images, sorted by the bytes of their keys. A key that comes twice stays twice.

    Raises StorageError when they do not fit into the temporary folder.
    """
    try:
        # A database without a name is private, and its file disappears with the process.
        with contextlib.closing(sqlite3.connect("", isolation_level=None)) as database:
            database.executescript(f"PRAGMA journal_mode = OFF; PRAGMA cache_size = -{CACHE_KIB}; BEGIN;")
            database.execute("CREATE TABLE image (key BLOB, size INTEGER, etag TEXT, mtime_ns INTEGER)")
            database.executemany("INSERT INTO image VALUES (?, ?, ?, ?)", images)
            yield from database.execute("SELECT * FROM image ORDER BY key")
    except sqlite3.Error as error:
        raise StorageError(
            f"{os.environ.get('TMPDIR', '/var/tmp')}: cannot hold the listing while it is sorted: {error}; "
            "let TMPDIR name a folder with more space that can be written"
        ) from error
