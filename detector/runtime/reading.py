"""Reads an encoded image as a detector wants it: no larger than the detector looks at it.

This needs no description of an artifact, so that another process can do it.
"""

from __future__ import annotations

from dataclasses import dataclass

from detector.runtime.detector import Image
from detector.runtime.images import MAX_PIXELS, decode_image
from detector.runtime.resizing import Method, resize_to


@dataclass(frozen=True)
class Reading:
    """The size in pixels at which a detector looks at an image, and how it is resized to that; method None: the
    detector wants every pixel of the image."""

    height: int
    width: int
    method: Method | None


def read_image(data: bytes, reading: Reading, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode an image and resize it as `reading` says; raises ImageError as `decode_image` does."""
    pixels = decode_image(data, max_pixels)
    height, width = pixels.shape[:2]
    if reading.method is not None:
        pixels = resize_to(pixels, reading.height, reading.width, reading.method)
    return Image(pixels, height, width)
