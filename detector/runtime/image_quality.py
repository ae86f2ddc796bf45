"""Measures an image's pixels: how sharp, bright and coloured it is, and a hash that near-duplicates share.

The values hardly depend on the image's own size, or on how large a detector looks at it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.runtime.hashes import gray_hash
from detector.runtime.images import MAX_PIXELS, Decoded, Pixels, decode
from detector.runtime.reading import ROOM, Reading, least_size, resized
from detector.runtime.reading import Image as ReadImage

# The longer side in pixels at which the green channel of an image is measured. A smaller image is enlarged, so that it
# counts as less sharp.
SIDE = 256
# Level of green up to which a pixel is clipped at the dark end, and from which on at the bright end. The noise of a
# JPEG moves clipped pixels by a few levels.
_DARK, _BRIGHT = 5, 250
_LEVELS = np.arange(256)


@dataclass(frozen=True)
class ImageQuality:
    """What the pixels of an image are like.

    brightness: mean luma, in levels from 0 to 255; red_green, blue_yellow: mean of red minus green, and of blue minus
    the mean of red and green; aspect: width divided by height.

    The others are of the green channel at SIDE pixels. It carries most of the brightness, and to take one channel costs
    a third of what a conversion to grey does. sharpness: variance of the Laplacian; contrast: standard deviation, in
    levels; clipped_dark, clipped_bright: share of pixels, 0 to 1, at the ends of the scale; perceptual_hash:
    `hashes.gray_hash` as 16 hex digits.
    """

    sharpness: float
    brightness: float
    clipped_dark: float
    clipped_bright: float
    contrast: float
    red_green: float
    blue_yellow: float
    aspect: float
    perceptual_hash: str


def image_quality(found: Decoded) -> ImageQuality:
    """Measure a decoded image.

    The same pixels give the same numbers on every processor: sums are of whole numbers, and results are rounded. The
    pixels of a photograph whose JPEG was decoded at a fraction of its size typically give nearly the same.
    """
    small = _small_green(found)
    pixels = small.width * small.height
    counts = np.array(small.histogram())
    total, squares = int(counts @ _LEVELS), int(counts @ _LEVELS**2)
    red, green, blue = _channel_means(found.pixels)
    return ImageQuality(
        sharpness=round(_laplacian_variance(np.asarray(small, np.int16)), 2),
        brightness=round(0.299 * red + 0.587 * green + 0.114 * blue, 2),  # ITU-R BT.601
        clipped_dark=round(int(counts[: _DARK + 1].sum()) / pixels, 4),
        clipped_bright=round(int(counts[_BRIGHT:].sum()) / pixels, 4),
        contrast=round(math.sqrt(pixels * squares - total**2) / pixels, 2),
        red_green=round(red - green, 2),
        blue_yellow=round(blue - (red + green) / 2, 2),
        aspect=round(found.width / found.height, 4),
        perceptual_hash=f"{gray_hash(small):016x}",
    )


def read_and_measure(data: bytes, reading: Reading, max_pixels: int = MAX_PIXELS) -> ReadImage:
    """Read an image as `reading.read_image` does, with its quality, which hardly depends on `reading`."""
    found = measured = decode(data, least_size(reading), max_pixels)
    enough = ROOM * SIDE
    if max(found.pixels.shape) < min(enough, max(found.height, found.width)):
        # A detector that looks at very small images had the JPEG decoded at a size that is too small to be measured.
        factor = enough / max(found.height, found.width)
        measured = decode(data, (int(factor * found.height), int(factor * found.width)), max_pixels)
    return replace(resized(found, reading), quality=image_quality(measured))


def small_size(height: int, width: int) -> tuple[int, int]:
    """Return height and width at which an image is measured, from those in its own pixels. With less than 3 pixels on
    one side, no pixel has four neighbours, and `sharpness` is 0."""
    factor = SIDE / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def _small_green(found: Decoded) -> Image.Image:
    """Return the green channel as an image of mode L with SIDE pixels on the longer side."""
    factor = SIDE / max(found.width, found.height)
    height, width = small_size(found.height, found.width)
    box = (found.columns[0], found.rows[0], found.columns[1], found.rows[1])
    green = Image.fromarray(np.ascontiguousarray(found.pixels[..., 1]))
    method = Image.Resampling.BOX if factor < 1 else Image.Resampling.BILINEAR
    return green.resize((width, height), method, box, reducing_gap=2.0)


def _laplacian_variance(gray: NDArray[np.int16]) -> float:
    """Return the variance of the Laplacian, with four neighbours, of levels (H, W) without the border; 0 if nothing is
    left (Pech-Pacheco et al. 2000)."""
    inner = gray[1:-1, 1:-1]
    if not inner.size:
        return 0.0
    laplacian = 4 * inner
    for neighbours in (gray[:-2, 1:-1], gray[2:, 1:-1], gray[1:-1, :-2], gray[1:-1, 2:]):
        laplacian -= neighbours
    values = laplacian.ravel().astype(np.float64)  # all sums are whole numbers below 2**53, so their order is no matter
    count, total = values.size, int(values.sum())
    return (count * int(values @ values) - total**2) / count**2


def _channel_means(pixels: Pixels) -> tuple[float, float, float]:
    """Return the mean of each channel of an image, uint8 RGB (H, W, 3)."""
    height, width = pixels.shape[:2]
    columns = np.add.reduce(pixels.reshape(height, -1), axis=0, dtype=np.uint32)  # by rows: fast, and below 2**32
    red, green, blue = columns.reshape(-1, 3).sum(axis=0, dtype=np.int64).tolist()
    area = height * width
    return red / area, green / area, blue / area
