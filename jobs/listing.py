"""A listing of any length, chosen from and sorted by key, in little memory.

While it is sorted an image is one line: its key, so written that the order of the lines is that of the keys' UTF-8
bytes; a zero byte; and the rest of its line in the plan. Ten million objects of Python would not fit into a small
container, and would be slow; of these lines some hundred thousand are held, the rest lies in temporary files.
"""

from __future__ import annotations

import contextlib
import fnmatch
import heapq
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from json.encoder import encode_basestring as json_string
from typing import IO

from jobs.errors import StorageError
from jobs.formats import Filters
from jobs.storage import Entry

# Lines held before they are sorted and spilled: some 400,000. A listing that is smaller never touches the disk.
CHUNK_BYTES = 64 * 2**20
# What Python needs for a line besides its bytes: the object's head, and its place in the list.
LINE_OVERHEAD = 41
# Files merged at once, well within the usual limit of 1,024 open files; more are merged to one in between.
MAX_FILES = 128
# A key's control characters that a line must not hold, each as two bytes of the same rank.
_ESCAPES = {0x00: b"\x01\x01", 0x01: b"\x01\x02", 0x09: b"\x09\x01", 0x0A: b"\x09\x02"}
_UNESCAPES = {escaped: bytes([byte]) for byte, escaped in _ESCAPES.items()}
_ESCAPED = re.compile(rb"[\x01\x09][\x01\x02]")
_TO_ESCAPE = re.compile(rb"[\x00\x01\x09\x0a]")
_END = b"\x00"


@dataclass
class Counts:
    """What a selection has seen so far."""

    images: int = 0
    bytes: int = 0
    other_files: int = 0
    filtered: int = 0


class Selection:
    """The images that a plan takes from a listing."""

    def __init__(self, filters: Filters) -> None:
        self.counts = Counts()
        self._extensions = frozenset(filters.extensions)
        self._include = _any_of(filters.include)
        self._exclude = _any_of(filters.exclude)

    def lines(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """One line for each image that is planned, in the order of the listing; counts all of them."""
        counts, extensions, include, exclude = self.counts, self._extensions, self._include, self._exclude
        for entry in entries:
            key = entry.key
            stem, _, extension = key.rpartition(".")
            # A name that is nothing but an extension is a hidden file.
            if extension.lower() not in extensions or not stem or stem[-1] == "/":
                counts.other_files += 1
            elif (include and not include.match(key)) or (exclude and exclude.match(key)):
                counts.filtered += 1
            else:
                counts.images += 1
                counts.bytes += entry.size
                yield sortable(key) + _END + version_of(entry.size, entry.etag, entry.mtime_ns) + b"\n"


def _any_of(globs: list[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs)) if globs else None


def sortable(key: str) -> bytes:
    """A key as bytes that sort as its UTF-8 bytes do, before any longer key's; no newline and no zero in it."""
    data = key.encode()
    if key.isprintable():
        return data
    return _TO_ESCAPE.sub(lambda found: _ESCAPES[found[0][0]], data)


def key_of(sorted_key: bytes) -> str:
    """The inverse of `sortable`."""
    if b"\x01" in sorted_key or b"\x09" in sorted_key:
        sorted_key = _ESCAPED.sub(lambda found: _UNESCAPES[found[0]], sorted_key)
    return sorted_key.decode()


def version_of(size: int, etag: str | None, mtime_ns: int | None) -> bytes:
    """An image's version as its line in the plan says it: two are equal when these bytes are."""
    quoted = "null" if etag is None else json_string(etag)
    return f'"size":{size},"etag":{quoted},"mtime_ns":{"null" if mtime_ns is None else mtime_ns}'.encode()


# Of an image whose version nobody knows: an inventory need not tell ETags.
UNKNOWN_VERSION = b'"etag":null,"mtime_ns":null'


def plan_line(key: str, version: bytes, previous: str | None) -> bytes:
    """The bytes of `PlannedImage.canonical()` and a newline, at a quarter of the time."""
    part = "null" if previous is None else json_string(previous)
    return b'{"key":%s,%s,"previous":%s}\n' % (json_string(key).encode(), version, part.encode())


@dataclass(frozen=True, slots=True)
class PreviousImage:
    """An image of the previous plan, and the part that holds its record."""

    sortable: bytes
    version: bytes
    size: int
    part: str


@dataclass
class Copies:
    """Images of a plan that the previous run has in the same version."""

    images: int = 0
    bytes: int = 0


def plan_lines(lines: Iterable[bytes], earlier: Iterator[PreviousImage], copies: Copies, uri: str) -> Iterator[bytes]:
    """The plan's lines for sorted lines, each with its part of the previous run where the version is the same.

    earlier: the previous plan, sorted alike; may be empty. copies: counts them. Raises StorageError, which names
    `uri`, when a key comes twice.
    """
    there = next(earlier, None)
    last = None
    for line in lines:
        place, _, version = line[:-1].partition(_END)
        if place == last:
            raise StorageError(f"{uri}{key_of(place)}: listed twice; check the server, then plan again")
        last = place
        while there is not None and there.sortable < place:
            there = next(earlier, None)
        previous = None
        if (
            there is not None
            and there.sortable == place
            and there.version == version
            and not version.endswith(UNKNOWN_VERSION)
        ):
            previous = there.part
            copies.images += 1
            copies.bytes += there.size
        yield plan_line(key_of(place), version, previous)


def sort_lines(lines: Iterable[bytes], chunk_bytes: int = CHUNK_BYTES, max_files: int = MAX_FILES) -> Iterator[bytes]:
    """The lines in the order of their bytes; each ends with a newline and has no other.

    At most `chunk_bytes` of them are held; raises StorageError when the rest does not fit into the temporary folder.
    """
    with contextlib.ExitStack() as files:
        spilled: list[IO[bytes]] = []
        chunk: list[bytes] = []
        held = 0
        for line in lines:
            chunk.append(line)
            held += len(line) + LINE_OVERHEAD
            if held >= chunk_bytes:
                chunk.sort()
                spilled.append(files.enter_context(_spilled(chunk)))
                chunk = []  # not cleared: its lines go while the next ones come, in place of a pause
                held = 0
                if len(spilled) == max_files:
                    merged = _spilled(heapq.merge(*spilled))
                    files.close()
                    spilled = [files.enter_context(merged)]
        chunk.sort()
        yield from heapq.merge(*spilled, chunk)


def _spilled(lines: Iterable[bytes]) -> IO[bytes]:
    """A file without a name, which goes with its process; rewound, and for the caller to close."""
    try:
        file = tempfile.TemporaryFile(prefix="boxcar-")  # noqa: SIM115
        try:
            file.writelines(lines)
            file.seek(0)
        except BaseException:
            file.close()
            raise
    except OSError as error:
        raise StorageError(
            f"{tempfile.gettempdir()}: cannot hold the listing while it is sorted: {error.strerror}; "
            "let TMPDIR name a folder with more space"
        ) from error
    return file
