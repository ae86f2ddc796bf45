"""Make the image that most files of the corpus hold, and say what a decoder must return for it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Colour = tuple[int, int, int]
# Upper left, upper right, lower left, lower right: no turn or flip leaves them in place.
Corners = tuple[Colour, Colour, Colour, Colour]

WIDTH, HEIGHT = 48, 32
SIZE = (WIDTH, HEIGHT)
RED, GREEN, BLUE, WHITE, BLACK = (220, 30, 30), (30, 190, 40), (30, 40, 210), (255, 255, 255), (0, 0, 0)
GREY = (90, 90, 90)
CORNERS: Corners = (RED, GREEN, BLUE, WHITE)
# JPEG may change a flat area by this much. The corners' colours are further apart.
LOSSY = 12


@dataclass(frozen=True)
class Hostile:
    """One file: its bytes, and the result that it must give."""

    make: Callable[[], bytes]
    status: str
    size: tuple[int, int] | None = None  # width, height; given when the status is ok
    corners: Corners | None = None  # colours in the middles of the four quarters, where they are known
    tolerance: int = 0  # of each channel of `corners`


def ok(
    make: Callable[[], bytes], corners: Corners | None = CORNERS, tolerance: int = 0, size: tuple[int, int] = SIZE
) -> Hostile:
    """A file that must be read."""
    return Hostile(make, "ok", size, corners, tolerance)


def unreadable(make: Callable[[], bytes]) -> Hostile:
    """A file that no decoder can read."""
    return Hostile(make, "unreadable")


def too_large(make: Callable[[], bytes]) -> Hostile:
    """A file whose pixels must never be allocated."""
    return Hostile(make, "too_large")


def flat(colour: Colour) -> Corners:
    """One colour everywhere."""
    return (colour, colour, colour, colour)


def quarters(corners: Corners = CORNERS, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """Return (H, W, 3): four areas of one colour each."""
    pixels = np.empty((height, width, 3), np.uint8)
    for index, colour in enumerate(corners):
        row, column = divmod(index, 2)
        rows = slice(height // 2, None) if row else slice(0, height // 2)
        columns = slice(width // 2, None) if column else slice(0, width // 2)
        pixels[rows, columns] = colour
    return pixels


def middles(pixels: NDArray[np.uint8]) -> Corners:
    """Return the colours in the middles of the four quarters of an (H, W, 3) image."""
    height, width = pixels.shape[:2]
    places = [(y * height // 4, x * width // 4) for y in (1, 3) for x in (1, 3)]
    found = [tuple(int(value) for value in pixels[place]) for place in places]
    return found[0], found[1], found[2], found[3]  # type: ignore[return-value]


def rgb() -> Image.Image:
    """Return the image."""
    return Image.fromarray(quarters())


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def jpeg(image: Image.Image | None = None, **options: object) -> bytes:
    """A JPEG; without subsampling unless asked, so that areas stay flat to their edges."""
    return encode(rgb() if image is None else image, "JPEG", **({"quality": 95, "subsampling": 0} | options))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk with its right checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, scanlines: bytes, *, depth: int = 8, kind: int = 2, before: bytes = b"") -> bytes:
    """A PNG from compressed scanlines; `kind` is PNG's colour type, `before` stands between IHDR and IDAT."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + png_chunk(b"IDAT", scanlines) + png_chunk(b"IEND", b"")


def bmp(width: int, height: int, bits: int = 24, data: bytes = b"") -> bytes:
    """A BMP that says this size; a negative height means that the top row comes first."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, len(data), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54) + header + data


def gif(width: int, height: int) -> bytes:
    """A GIF whose logical screen and only frame say this size; it holds one pixel."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\xff\x00\x00\x00\x00\xff" + frame + b";"


def jpeg_segment(marker: int, data: bytes) -> bytes:
    """One marker segment."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def after_soi(data: bytes, *segments: bytes) -> bytes:
    """A JPEG with segments put at its beginning."""
    return data[:2] + b"".join(segments) + data[2:]


def start_of_frame(data: bytes) -> int:
    """Return the place where a JPEG's frame header (SOF) begins."""
    place = 2
    while data[place + 1] not in (0xC0, 0xC1, 0xC2):
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return place


def with_jpeg_size(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header says another size."""
    place = start_of_frame(data) + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]
