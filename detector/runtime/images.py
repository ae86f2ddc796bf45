"""Decodes and normalises images; training and the batch job share this code.

Pixels are uint8 RGB (H, W, 3) in the frame after the EXIF orientation.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from detector.common.errors import ImageError
from detector.runtime.decoding.depth import Pixels as Pixels
from detector.runtime.decoding.depth import load_pixels
from detector.runtime.decoding.readers import open_image
from detector.runtime.decoding.repairs import prepared, whole_files

Span = tuple[float, float]

# EfficientNet-Lite's own normalisation: (RGB - 127) / 128.
MEAN = np.float32(127.0)
SCALE = np.float32(1.0 / 128.0)
# The deepest feature map has stride 32. If the sides are multiples of it, every stride divides evenly, so that
# asymmetric "SAME" padding is the same constant at every size.
STRIDE = 32
# Decompression bombs are refused before decoding; 178 megapixels is twice the size of the largest consumer sensors.
MAX_PIXELS = 178_956_970
# What undoes each EXIF orientation (EXIF 2.32, tag 0x0112): whether rows become columns, and then whether the order of
# rows and of columns is reversed.
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
# This module checks sizes and damage itself. Filters of warnings are not thread-safe, so that they are set once.
warnings.filterwarnings("ignore", module=r"PIL\..*")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# After a large image, the C library keeps Pillow's usual blocks of 16 MiB for every thread; blocks above 32 MiB are
# given back to the system.
Image.core.set_block_size(64 * 2**20)  # type: ignore[attr-defined]


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an opened image, 1 to 8; 1 if it has none. An XMP packet does not count, and is
    forgotten, because Pillow would turn a TIFF by it.

    For HEIC and AVIF, Pillow states the rotation of the container as an orientation, or has applied it; their EXIF
    block does not count.
    """
    image.info.pop("xmp", None)
    exif = Image.Exif()
    try:
        if image.format == "TIFF":
            exif[ExifTags.Base.Orientation] = image.tag_v2.get(ExifTags.Base.Orientation)  # type: ignore[attr-defined]
        elif "exif" in image.info:
            exif.load(image.info["exif"])
        elif text := image.info.get("Raw profile type exif"):
            exif.load(bytes.fromhex("".join(text.split("\n")[3:])))
        orientation = exif.get(ExifTags.Base.Orientation)
    except (OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, struct.error):
        return 1  # a block that cannot be parsed has no orientation
    return orientation if orientation in _TURNS else 1


@contextlib.contextmanager
def _image_errors() -> Iterator[None]:
    """Turn a decoder's error into an ImageError: on damaged bytes it may be SyntaxError, struct.error, EOFError..."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageError("too_large", str(error)) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            "unreadable", "not an image, or of a kind that is not read: docs/image-formats.md lists them"
        ) from error
    except Exception as error:
        raise ImageError("unreadable", f"the decoder failed: {type(error).__name__}") from error


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Return the image after its header is read."""
    image = open_image(data)
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError("too_large", f"{width}x{height} is more than {max_pixels} pixels")
    return image


def frame_size(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return the (height, width) of an encoded image in its EXIF orientation, by its header.

    Raises ImageError as `decode_image` does.
    """
    with _image_errors(), _open(prepared(data), max_pixels) as image:
        is_turned = image.format != "TIFF" and _orientation(image) >= 5  # Pillow turns the size of a TIFF itself
        return (image.width, image.height) if is_turned else (image.height, image.width)


def exif_orientation(data: bytes) -> int:
    """Return the EXIF orientation of an encoded image, 1 to 8, by its header; 1 if it has none.

    Raises ImageError as `decode_image` does.
    """
    with _image_errors(), _open(prepared(data), MAX_PIXELS) as image:
        return _orientation(image)


@dataclass(frozen=True)
class Decoded:
    """A decoded image. pixels: uint8 RGB (h, w, 3); height, width: of the whole image, whose frame is upright.

    rows, columns: the first and the last edge of the frame, in rows and columns of `pixels`. A JPEG of 1001 columns,
    decoded at half its size, has 501, and its frame ends in the middle of the last one, or begins in the first.
    """

    pixels: Pixels
    height: int
    width: int
    rows: Span
    columns: Span


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode an image as uint8 RGB (H, W, 3): its first frame, in its EXIF orientation, with alpha over white.

    Raises ImageError with status `empty`, `too_large` (more than `max_pixels`, which is known before decoding) or
    `unreadable` (it is not an image, it is truncated, its samples have no stated meaning, or the decoder failed).
    """
    return decode(data, None, max_pixels).pixels


def decode(data: bytes, least: tuple[int, int] | None, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode an image as `decode_image` does, a JPEG at 1/2, 1/4 or 1/8 of its size if both sides stay long enough.

    least: (height, width) of the upright image below which it is not decoded; None: it is decoded at its full size. A
    JPEG without its end marker is decoded at its full size, which shows whether pixels are missing.
    """
    with _image_errors():
        *others, last = whole_files(data)
        digests = {_digest(_decode(other, None, max_pixels)) for other in others}  # one at a time is in memory
        decoded = _decode(last, None if others else least, max_pixels)
        if others and digests != {_digest(decoded)}:
            raise ImageError("unreadable", "the JPEG is truncated: rows are missing")
        return decoded


def _decode(data: bytes, least: tuple[int, int] | None, max_pixels: int) -> Decoded:
    with _open(data, max_pixels) as image:
        orientation = _orientation(image)
        turned, upside_down, mirrored = _TURNS[1 if image.format == "TIFF" else orientation]  # Pillow turns it itself
        stored = image.size
        covered: tuple[float, float] = stored
        if least is not None and isinstance(image, JpegImageFile):
            drafted = image.draft(None, least if turned else least[::-1])
            covered = drafted[1][2:] if drafted else stored
        pixels = load_pixels(image)
        if covered == stored:
            stored = covered = image.size  # a TIFF is turned now
    width, height = stored[::-1] if turned else stored
    columns, rows = covered[::-1] if turned else covered
    pixels = pixels.swapaxes(0, 1) if turned else pixels
    return Decoded(
        np.ascontiguousarray(pixels[:: -1 if upside_down else 1, :: -1 if mirrored else 1]),
        height,
        width,
        _edges(rows, pixels.shape[0], upside_down),
        _edges(columns, pixels.shape[1], mirrored),
    )


def _edges(covered: float, decoded: int, is_reversed: bool) -> Span:
    """Return where the frame begins and ends in a number of decoded rows or columns, of which it covers the first."""
    return (decoded - covered, decoded) if is_reversed else (0, covered)


def _digest(decoded: Decoded) -> bytes:
    return hashlib.sha256(decoded.pixels.data).digest()


def normalise(pixels: Pixels) -> NDArray[np.float32]:
    """Return uint8 pixels (H, W, 3) as normalised float32 (3, H', W'), padded with zeros, which are the mean.

    H' and W' are the next multiples of 32.
    """
    height, width = pixels.shape[:2]
    padded = np.zeros((3, -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE), np.float32)
    padded[:, :height, :width] = (pixels.transpose(2, 0, 1).astype(np.float32) - MEAN) * SCALE
    return padded
