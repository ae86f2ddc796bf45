"""From encoded bytes to what the network sees: the one copy, shared by training and the batch job.

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
# The deepest feature map has stride 32; with sides that are multiples of it every stride divides evenly,
# so that asymmetric "SAME" padding is the same constant at every size.
STRIDE = 32
# Decompression bombs are refused before decoding: 178 megapixels is twice what the largest consumer sensors give.
MAX_PIXELS = 178_956_970
# The formats that photographs come in. Pillow knows some forty more and goes by the bytes, not by the name: of what
# looks like EPS it would start Ghostscript, on a stranger's program.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")

# What undoes each EXIF orientation (EXIF 2.32, tag 0x0112), on pixels (H, W, 3).
_TURNS: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, 1),
}
# Pictures are converted in bands of so many pixels: Pillow needs up to 20 bytes a pixel to convert one as a whole.
_BAND_PIXELS = 2**22
# Sizes and damage are judged here; filters are not thread-safe, so this one is set once.
warnings.filterwarnings("ignore", module=r"PIL\..*")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Pillow's own blocks of 16 MiB stay with the C library, once for every thread, when a large picture is done with; above
# 32 MiB they are given back.
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
    """A loaded picture's pixels as they are stored, band by band."""
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
    """The EXIF orientation. Pillow's own `exif_transpose` also rewrites the EXIF block, and fails on one that is
    damaged elsewhere."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except (OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, struct.error):
        # A block that cannot be parsed says nothing of the orientation.
        return None
    return orientation if isinstance(orientation, int) else None


@contextlib.contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """The picture with its header read; what goes wrong within the block becomes an ImageError."""
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
    except Exception as error:  # decoders raise anything on damaged bytes: SyntaxError, struct.error, EOFError...
        raise ImageError("unreadable", f"the decoder failed: {type(error).__name__}") from error


def count_pixels(data: bytes, max_pixels: int = MAX_PIXELS) -> int:
    """What `decode_image` would decode, from the header alone; raises ImageError as it does."""
    with _opened(data, max_pixels) as image:
        return image.width * image.height


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Encoded picture -> uint8 RGB (H, W, 3), EXIF orientation applied, first frame, alpha over white.

    Raises ImageError with status `empty`, `too_large` (more than `max_pixels`, known before decoding) or
    `unreadable` (not an image, truncated, or the decoder failed).
    """
    with _opened(data, max_pixels) as image:
        image.load()
        orientation = _orientation(image)
        pixels = _pixels(image)
    turn = _TURNS.get(orientation or 1)
    return np.ascontiguousarray(pixels if turn is None else turn(pixels))


@dataclass(frozen=True)
class Resized:
    """A resized picture and the exact factors that map its boxes back: original = resized / scale."""

    pixels: Pixels
    scale_x: float
    scale_y: float


def resize(pixels: Pixels, long_side: int) -> Resized:
    """Scale so that the longer side has `long_side` pixels (bilinear with antialiasing), keeping the ratio.

    Neither side becomes smaller than 1 pixel; a picture that already fits is not touched.
    """
    height, width = pixels.shape[:2]
    factor = long_side / max(height, width)
    new_width, new_height = max(1, round(width * factor)), max(1, round(height * factor))
    if (new_width, new_height) == (width, height):
        return Resized(pixels, 1.0, 1.0)
    image = Image.fromarray(pixels).resize((new_width, new_height), Image.Resampling.BILINEAR)
    return Resized(np.asarray(image), new_width / width, new_height / height)


def normalise(pixels: Pixels) -> NDArray[np.float32]:
    """uint8 (H, W, 3) -> float32 (3, H', W'), H' and W' the next multiples of 32, padded with the mean (zeros)."""
    height, width = pixels.shape[:2]
    padded = np.zeros((3, -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE), np.float32)
    padded[:, :height, :width] = (pixels.transpose(2, 0, 1).astype(np.float32) - MEAN) * SCALE
    return padded
