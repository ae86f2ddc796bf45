"""Undoes the Content-Encoding of stored objects, as browsers do."""

from __future__ import annotations

import zlib
from collections.abc import Callable

# Photographs hardly shrink when they are compressed. An object that grows beyond this is not unpacked any further.
MAX_UNPACKED = 128 * 2**20


def unpacked(data: bytes, encoding: str) -> bytes:
    """Return the bytes after the codings of a Content-Encoding, such as "gzip", are undone.

    Raises OverflowError where they are more than `MAX_UNPACKED`.
    """
    for coding in reversed(encoding.lower().split(",")):
        unpack = _CODINGS.get(coding.strip())
        if unpack is not None:
            data = unpack(data)
    return data


def _gunzip(data: bytes) -> bytes:
    """Return the members of a gzip file, one after the other; the bytes as they are where they are no such file."""
    found, rest = b"", data
    try:
        while rest.startswith(b"\x1f\x8b"):
            unpacking = zlib.decompressobj(wbits=31)
            found += unpacking.decompress(rest, MAX_UNPACKED - len(found) + 1)
            _require_size(found)
            rest = unpacking.unused_data
    except zlib.error:
        return data  # the decoder of images will say that they are damaged
    return found or data


def _inflate(data: bytes) -> bytes:
    for bits in (15, -15):  # with the header of zlib, as HTTP demands, or without
        unpacking = zlib.decompressobj(wbits=bits)
        try:
            found = unpacking.decompress(data, MAX_UNPACKED + 1)
        except zlib.error:
            continue
        _require_size(found)
        return found
    return data


def _require_size(data: bytes) -> None:
    if len(data) > MAX_UNPACKED:
        raise OverflowError(f"unpacks to more than {MAX_UNPACKED:,} bytes")


# Codings of HTTP that are undone. Others, and aws-chunked, which is a coding of the transfer only, stay.
_CODINGS: dict[str, Callable[[bytes], bytes]] = {"gzip": _gunzip, "x-gzip": _gunzip, "deflate": _inflate}
