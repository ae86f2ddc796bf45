"""Writes ZIP files whose bytes depend on nothing but their members.

Python's `zipfile` keeps every member's entry in memory until the end, about 600 bytes each. Here the directory waits on
disk. Members are not compressed, because the output of a compressor changes with its version.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import struct
import zlib
from collections.abc import Iterator
from typing import IO

from jobs.convert.files import BUFFER_BYTES, spool

# The structures of PKWARE's APPNOTE 6.3: a member's header (4.3.7), its entry in the directory (4.3.12), the ends of
# the directory (4.3.14 to 4.3.16), and the field for an offset that does not fit into 32 bits (4.5.3).
_MEMBER = struct.Struct("<4s5H3I2H")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")
_OFFSET_64 = struct.Struct("<2HQ")

_VERSION = 45  # of a reader that knows 64-bit offsets
_UNIX = 3 << 8
_UTF8_NAMES = 1 << 11
_STORED = 0
_TIME, _DATE = 0, 1 << 5 | 1  # midnight of 1 January 1980, the first moment that ZIP knows
_PLAIN_FILE = 0o100644 << 16
_MOST_16, _MOST_32 = 2**16 - 1, 2**32 - 1


class Archive:
    """A ZIP file that is being written; made by `archive`."""

    def __init__(self, file: IO[bytes], directory: IO[bytes]) -> None:
        self._file = file
        self._directory = directory
        self._offset = file.tell()
        self._count = 0

    def add(self, name: str, data: bytes) -> None:
        """Add a member. name: its path, with slashes."""
        self.add_file(name, io.BytesIO(data))

    def add_file(self, name: str, source: IO[bytes]) -> None:
        """Add a member, of at most 4 GiB, with the whole content of a file, which is read twice."""
        checksum = size = 0
        source.seek(0)
        while chunk := source.read(BUFFER_BYTES):
            checksum, size = zlib.crc32(chunk, checksum), size + len(chunk)
        path = name.encode()
        shared = (_UTF8_NAMES, _STORED, _TIME, _DATE, checksum, size, size, len(path))
        self._file.write(_MEMBER.pack(b"PK\3\4", _VERSION, *shared, 0) + path)
        source.seek(0)
        shutil.copyfileobj(source, self._file, BUFFER_BYTES)
        more = _OFFSET_64.pack(1, 8, self._offset) if self._offset >= _MOST_32 else b""
        rest = (len(more), 0, 0, 0, _PLAIN_FILE, min(self._offset, _MOST_32))
        self._directory.write(_ENTRY.pack(b"PK\1\2", _UNIX | _VERSION, _VERSION, *shared, *rest) + path + more)
        self._offset += _MEMBER.size + len(path) + size
        self._count += 1

    def finish(self) -> None:
        """Write the directory, after the last member."""
        size, count = self._directory.tell(), self._count
        self._directory.seek(0)
        shutil.copyfileobj(self._directory, self._file, BUFFER_BYTES)
        if self._offset >= _MOST_32 or size >= _MOST_32 or count >= _MOST_16:
            versions = (_UNIX | _VERSION, _VERSION)
            end = _END_64.pack(b"PK\6\6", _END_64.size - 12, *versions, 0, 0, count, count, size, self._offset)
            self._file.write(end + _LOCATOR_64.pack(b"PK\6\7", 0, self._offset + size, 1))
        count = min(count, _MOST_16)
        places = (min(size, _MOST_32), min(self._offset, _MOST_32))
        self._file.write(_END.pack(b"PK\5\6", 0, 0, count, count, *places, 0))


@contextlib.contextmanager
def archive(file: IO[bytes]) -> Iterator[Archive]:
    """A ZIP file that is written to `file`, a file on disk, and complete at the end of the block."""
    with spool(file) as directory:
        made = Archive(file, directory)
        yield made
        made.finish()
