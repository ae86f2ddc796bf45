"""Prepares encoded bytes for the decoder, so that what is no pixel cannot cost an image its pixels."""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Iterator

from detector.common.errors import ImageError

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_START, _JPEG_END, _SCAN = b"\xff\xd8\xff", b"\xff\xd9", b"\xff\xda"
# A marker begins with 0xFF. In coded data, a zero or a restart marker may follow 0xFF as well.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# ImageMagick and exiftool write EXIF as text into PNG files; eXIf is newer.
_EXIF_AS_TEXT = b"Raw profile type exif\0"
# EXIF has at most 64 KiB, and twice as much in hexadecimal digits.
_MOST_EXIF_TEXT = 2**18


def prepared(data: bytes) -> bytes:
    """Return the bytes to decode in place of `data`: the same ones, for most images.

    Raises ImageError if there are none.
    """
    if not data:
        raise ImageError("empty", "the file has no bytes")
    if data.startswith(_PNG_SIGNATURE):
        return _png_of_pixels(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_with_padding(data)
    return data


def _png_of_pixels(data: bytes) -> bytes:
    """Return a PNG with the chunks that decide its pixels and its orientation, and without all others.

    Colour profiles and texts may be compressed to a thousandth of their size, and decoders give up on large or damaged
    ones. Without its animation chunks, a PNG is its default image, which is its first frame.
    """
    view = memoryview(data)
    kept: list[bytes | memoryview] = [view[:8]]
    place, kind = 8, b""
    while place + 12 <= len(data) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            break
        if not kind[0] & 0x20:  # a capital letter: no decoder may skip it
            kept.append(view[place:end])
        elif zlib.crc32(view[place + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big"):
            kept.append(_needed(kind, data[place + 8 : end - 4], *data[24:26]))
        place = end
    if data[place + 4 : place + 8] == b"IDAT":  # pixels that are cut: the decoder knows whether any are missing
        kept.append(view[place:])
    return b"".join(kept)


def _needed(kind: bytes, body: bytes, depth: int, colour_type: int) -> bytes:
    """Return an ancillary chunk as Pillow needs it, or nothing."""
    if kind == b"tRNS":
        body = _transparent_colour(body, depth, colour_type)
    elif kind != b"eXIf" and not _is_exif_text(kind, body):
        body = b""
    if not body:
        return b""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _is_exif_text(kind: bytes, text: bytes) -> bool:
    """Whether a chunk holds EXIF as text, and unpacks to a size that EXIF may have."""
    if kind not in (b"tEXt", b"zTXt") or not text.startswith(_EXIF_AS_TEXT):
        return False
    if kind == b"tEXt":
        return len(text) <= _MOST_EXIF_TEXT
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(text[len(_EXIF_AS_TEXT) + 1 :], _MOST_EXIF_TEXT)
    except zlib.error:
        return False
    return not unpacker.unconsumed_tail


def _transparent_colour(body: bytes, depth: int, colour_type: int) -> bytes:
    """Return the transparent colour of a tRNS chunk in the samples that Pillow compares with it: after its conversion.

    Pillow scales grey of 2 and 4 bits to 8, and keeps the high byte of each 16-bit colour. A 16-bit colour that stands
    for no 8-bit one makes no pixel transparent.
    """
    if colour_type == 0 and depth in (2, 4):
        return (int.from_bytes(body[:2], "big") * 255 // (2**depth - 1)).to_bytes(2, "big")
    if colour_type == 2 and depth == 16:
        return b"".join(bytes([0, high]) for high in body[:6:2]) if body[:6:2] == body[1:6:2] else b""
    return body


def _webp_with_padding(data: bytes) -> bytes:
    """Return a WebP with the last byte that RIFF adds to a chunk of odd length; some writers leave it out."""
    place = 12
    while place + 8 <= len(data):
        length = int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8 + length
        if length % 2 and place == len(data):
            return data + b"\0"
        place += length % 2
    return data


def whole_files(data: bytes) -> list[bytes]:
    """Return the file to decode: `data` as it is prepared, or several for a JPEG without its end marker.

    A decoder fills what is missing without a word. So these files have different ends, and the image is whole if all
    give the same pixels: then none of them depends on bytes that are not there. Raises ImageError if there are no
    bytes, or scans are missing.
    """
    if not is_jpeg_without_end(data):
        return [prepared(data)]
    place = len(data.rstrip(b"\0"))  # files may be filled up with zeros; one of them may belong to the image
    data = data[: place + 1].removesuffix(b"\xff")  # which is half of the end marker
    if not _has_all_scans(data):
        raise ImageError("unreadable", "the JPEG is truncated: scans are missing")
    newest, marker = max((data.rfind(bytes([0xFF, marker])), marker) for marker in range(0xD0, 0xD8))
    restart = marker + 1 if newest > data.rfind(_SCAN) else 0
    return [data + codes + _JPEG_END for codes in (b"", _codes(0, restart), _codes(1, restart))]


def _codes(seed: int, restart: int) -> bytes:
    """Return bytes that a Huffman decoder takes for pixels, with the restart markers that it expects."""
    noise = random.Random(seed)
    return b"".join(
        bytes(noise.randrange(0xFF) for _ in range(64)) + bytes([0xFF, 0xD0 + (restart + i) % 8]) for i in range(16)
    )


def is_jpeg_without_end(data: bytes) -> bool:
    """Whether the first image of a JPEG lacks its end marker; phones append videos and other images."""
    if not data.startswith(_JPEG_START) or data.endswith(_JPEG_END):
        return False
    return all(marker != _JPEG_END[1] for marker, _ in _jpeg_segments(data))


def is_jpeg_of_one_scan(data: bytes) -> bool:
    """Whether a decoder needs a few rows of a JPEG at a time: one scan has all components, and is not progressive.

    Otherwise all its coefficients are in memory, whatever the size at which it is decoded.
    """
    if not data.startswith(_JPEG_START):
        return False
    components = 0
    for marker, body in _jpeg_segments(data):
        if marker in (0xC0, 0xC1, 0xC9):
            components = body[5] if len(body) > 5 else 0
        elif marker == _SCAN[1]:
            return body[:1] == bytes([components])
    return False


def _has_all_scans(data: bytes) -> bool:
    """Whether every coefficient of every component has been sent to its last bit (ITU T.81, G.1)."""
    missing: dict[int, list[int]] = {}  # by component: the bits of each of its 64 coefficients that are not yet sent
    progressive = False
    for marker, body in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            progressive = marker in (0xC2, 0xCA)
            missing = {component: [1] * 64 for component in body[6::3]}
        elif marker == 0xDA and body:
            count = body[0]
            first, last, bits = body[1 + 2 * count : 4 + 2 * count] if progressive else (0, 63, 0)
            for component in body[1 : 1 + 2 * count : 2]:
                missing[component][first : last + 1] = [bits & 15] * (last + 1 - first)
    return bool(missing) and not any(map(any, missing.values()))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the marker segments of the first image, without the coded data between them."""
    place = 2
    while found := _MARKER.search(data, place):
        marker, place = data[found.end() - 1], found.end()
        length = 0 if marker == _JPEG_END[1] else int.from_bytes(data[place : place + 2], "big")
        yield marker, data[place + 2 : place + length]
        if marker == _JPEG_END[1]:
            return
        place += length
