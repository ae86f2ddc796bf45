"""Reads an encoded image as a detector wants it: no larger than the detector looks at it.

This needs no description of an artifact, so that another process can do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector.runtime.decoding.repairs import is_jpeg_of_one_scan, is_jpeg_without_end
from detector.runtime.images import MAX_PIXELS, Decoded, Pixels, decode
from detector.runtime.resizing import Method, resize_to

if TYPE_CHECKING:
    from detector.runtime.image_quality import ImageQuality

# A JPEG is decoded at no less than this many times the size that is asked for. The pixels of a scaled decode are means
# of squares, and resizing blurs them once more: of 1, average precision at IoU .75 was .007 lower for a detector that
# resizes as OpenCV does, and of 2 it is not. docs/benchmarks.md has the figures.
ROOM = 2


@dataclass(frozen=True)
class Image:
    """What the reader gives: pixels, uint8 RGB (h, w, 3), of the whole image or resized as the detector would do it;
    height, width: of the whole image after its EXIF orientation, the frame of every result; quality: what the pixels
    are like, where it was measured."""

    pixels: Pixels
    height: int
    width: int
    quality: ImageQuality | None = None

    @classmethod
    def whole(cls, pixels: Pixels) -> Image:
        """Return an image that was decoded at its full size."""
        return cls(pixels, *pixels.shape[:2])


@dataclass(frozen=True)
class Reading:
    """The size in pixels at which a detector looks at an image, and how it is resized to that; method None: the
    detector wants every pixel of the image."""

    height: int
    width: int
    method: Method | None


def read_image(data: bytes, reading: Reading, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode an image and resize it as `reading` says; raises ImageError as `decode_image` does.

    A JPEG of at least four times the size of `reading` is decoded at 1/2, 1/4 or 1/8 of its own, the smallest that is
    still twice that of `reading`: that takes less than a third of the time of 12 megapixels, and the result differs a
    little from all pixels resized.
    """
    return resized(decode(data, least_size(reading), max_pixels), reading)


def least_size(reading: Reading) -> tuple[int, int] | None:
    """Return the (height, width) below which a JPEG is not decoded; None: it is decoded at its full size."""
    return None if reading.method is None else (ROOM * reading.height, ROOM * reading.width)


def resized(found: Decoded, reading: Reading) -> Image:
    """Return a decoded image, resized as `reading` says."""
    pixels = found.pixels
    if reading.method is not None:
        pixels = resize_to(pixels, reading.height, reading.width, reading.method, found.rows, found.columns)
    return Image(pixels, found.height, found.width)


def decoded_pixels(data: bytes, height: int, width: int, reading: Reading) -> int:
    """Return the number of pixels that `read_image` holds in memory while it decodes an image of height x width."""
    scale = 1
    if reading.method is not None and is_jpeg_of_one_scan(data) and not is_jpeg_without_end(data):
        most = min(height // (ROOM * reading.height), width // (ROOM * reading.width))
        scale = max(scale for scale in (1, 2, 4, 8) if scale <= max(1, most))
    return -(-height // scale) * -(-width // scale)
