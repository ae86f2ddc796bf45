"""Makes thumbnails, small enough for a page with hundreds of them."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Longer side in pixels, JPEG quality, and the number of characters of an average photograph. The first step is sharp on
# a good screen; on the last one objects can just be recognised. Few pixels of fair quality look better than many of
# poor quality.
_STEPS = (
    (480, 72, 34_000),
    (400, 70, 27_000),
    (320, 66, 17_800),
    (320, 52, 14_400),
    (256, 48, 9_300),
    (200, 42, 5_800),
    (160, 35, 3_600),
    (96, 30, 1_600),
)
LARGEST_SIDE = _STEPS[0][0]
# An image with little detail may fit the budget at a larger step than an average one.
_HOPE = 1.3
_HEAD = "data:image/jpeg;base64,"


def thumbnail(pixels: NDArray[np.uint8], budget: int) -> str:
    """Return uint8 RGB pixels (H, W, 3) as a `data:` URI of at most `budget` characters, if a step is small enough.

    Otherwise the URI is that of the smallest step. An image is never enlarged.
    """
    image = Image.fromarray(pixels)
    step, wanted = 0, _HOPE * budget
    while True:
        step = _first_step(step, wanted)
        uri = _uri(image, *_STEPS[step][:2])
        if len(uri) <= budget or step == len(_STEPS) - 1:
            return uri
        wanted = _STEPS[step][2] * budget / len(uri)
        step += 1


def _first_step(start: int, wanted: float) -> int:
    """Return the first step from `start` on at which an average photograph has `wanted` characters, or the last."""
    fitting = (step for step in range(start, len(_STEPS)) if _STEPS[step][2] <= wanted)
    return next(fitting, len(_STEPS) - 1)


def jpeg_uri(pixels: NDArray[np.uint8], side: int, quality: int) -> str:
    """Return uint8 RGB pixels (H, W, 3) as the `data:` URI of a JPEG whose longer side is at most `side` pixels."""
    return _uri(Image.fromarray(pixels), side, quality)


def _uri(image: Image.Image, side: int, quality: int) -> str:
    small = image if max(image.size) <= side else _fitted(image, side)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality, optimize=True)
    return _HEAD + base64.b64encode(buffer.getvalue()).decode()


def _fitted(image: Image.Image, side: int) -> Image.Image:
    factor = side / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
