"""Decodes, resizes and normalises images; training and the batch job share this code.

Pixels are uint8 RGB (H, W, 3) in the frame after the EXIF orientation.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from detector.common.errors import ImageError

# EfficientNet-Lite's own normalisation: (RGB - 127) / 128.
MEAN = np.float32(127.0)
SCALE = np.float32(1.0 / 128.0)
# The deepest feature map has stride 32. If the sides are multiples of it, every stride divides evenly, so that
# asymmetric "SAME" padding is the same constant at every size.
STRIDE = 32
# Decompression bombs are refused before decoding; 178 megapixels is twice the size of the largest consumer sensors.
MAX_PIXELS = 178_956_970
# The formats of photographs. Pillow knows about forty more, and recognises them by their bytes: for a file that looks
# like EPS it would start Ghostscript, which runs the program in the file.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")

# Functions that undo each EXIF orientation (EXIF 2.32, tag 0x0112), for pixels (H, W, 3).
_TURNS: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, 1),
}
# Images are converted in bands of this number of pixels, because Pillow needs up to 20 bytes for each pixel that it
# converts at once.
_BAND_PIXELS = 2**22
# This module checks sizes and damage itself. Filters of warnings are not thread-safe, so that they are set once.
warnings.filterwarnings("ignore", module=r"PIL\..*")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# After a large image, the C library keeps Pillow's usual blocks of 16 MiB for every thread; blocks above 32 MiB are
# given back to the system.
Image.core.set_block_size(64 * 2**20)  # type: ignore[attr-defined]

Pixels = NDArray[np.uint8]


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow clips 16-bit values to 255 on conversion; keep the eight high bits instead.
        values = np.asarray(image) >> 8
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _pixels(image: Image.Image) -> Pixels:
    """Return the pixels of a loaded image as they are stored, converted band by band."""
    width, height = image.size
    rows = max(1, _BAND_PIXELS // max(1, width))
    if rows >= height:
        return np.asarray(_to_rgb(image), np.uint8)
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        pixels[top:bottom] = np.asarray(_to_rgb(image.crop((0, top, width, bottom))), np.uint8)
    return pixels


def _orientation(image: Image.Image) -> int | None:
    """Return the EXIF orientation.

    Pillow's own `exif_transpose` also rewrites the EXIF block, and fails if another part of it is damaged.
    """
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except (OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, struct.error):
        # A block that cannot be parsed has no orientation.
        return None
    return orientation if isinstance(orientation, int) else None


@contextlib.contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """Give the image after its header is read; any error inside the block becomes an ImageError."""
    if not data:
        raise ImageError("empty", "the file has no bytes")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError("too_large", f"{width}x{height} is more than {max_pixels} pixels")
            yield image
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError("too_large", str(error)) from error
    except UnidentifiedImageError as error:
        raise ImageError("unreadable", "not an image that Pillow knows") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise any error on damaged bytes: SyntaxError, struct.error, EOFError...
        raise ImageError("unreadable", f"the decoder failed: {type(error).__name__}") from error


def count_pixels(data: bytes, max_pixels: int = MAX_PIXELS) -> int:
    """Return the number of pixels that `decode_image` would decode, by the header; raises ImageError as it does."""
    with _opened(data, max_pixels) as image:
        return image.width * image.height


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode an image as uint8 RGB (H, W, 3): its first frame, in its EXIF orientation, with alpha over white.

    Raises ImageError with status `empty`, `too_large` (more than `max_pixels`, which is known before decoding) or
    `unreadable` (it is not an image, it is truncated, or the decoder failed).
    """
    with _opened(data, max_pixels) as image:
        image.load()
        orientation = _orientation(image)
        pixels = _pixels(image)
    turn = _TURNS.get(orientation or 1)
    return np.ascontiguousarray(pixels if turn is None else turn(pixels))


@dataclass(frozen=True)
class Resized:
    """A resized image and the exact factors that map its boxes back: original = resized / scale."""

    pixels: Pixels
    scale_x: float
    scale_y: float


def resize(pixels: Pixels, long_side: int) -> Resized:
    """Scale the image so that its longer side has `long_side` pixels, bilinear with antialiasing, with the same ratio.

    No side becomes smaller than 1 pixel. An image that has this size already is not changed.
    """
    height, width = pixels.shape[:2]
    factor = long_side / max(height, width)
    new_width, new_height = max(1, round(width * factor)), max(1, round(height * factor))
    if (new_width, new_height) == (width, height):
        return Resized(pixels, 1.0, 1.0)
    image = Image.fromarray(pixels).resize((new_width, new_height), Image.Resampling.BILINEAR)
    return Resized(np.asarray(image), new_width / width, new_height / height)


def normalise(pixels: Pixels) -> NDArray[np.float32]:
    """Return uint8 pixels (H, W, 3) as normalised float32 (3, H', W'), padded with zeros, which are the mean.

    H' and W' are the next multiples of 32.
    """
    height, width = pixels.shape[:2]
    padded = np.zeros((3, -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE), np.float32)
    padded[:, :height, :width] = (pixels.transpose(2, 0, 1).astype(np.float32) - MEAN) * SCALE
    return padded
