"""Pictures small enough to lie in a page by the hundred."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Longer side in pixels, JPEG quality, and the characters that photographs take on average; from what a good screen
# shows to what is still recognised. Fewer pixels at a fair quality look better than more at a poor one.
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
# A picture of less detail than most may fit a step above those that its budget suggests.
_HOPE = 1.3
_HEAD = "data:image/jpeg;base64,"


def thumbnail(pixels: NDArray[np.uint8], budget: int) -> str:
    """uint8 RGB (H, W, 3) -> a `data:` URI of at most `budget` characters, or else of the smallest step.

    A picture is never enlarged.
    """
    image = Image.fromarray(pixels)
    step, wanted = 0, _HOPE * budget
    while True:
        step = _first_step(step, wanted)
        uri = _encoded(image, *_STEPS[step][:2])
        if len(uri) <= budget or step == len(_STEPS) - 1:
            return uri
        wanted = _STEPS[step][2] * budget / len(uri)
        step += 1


def _first_step(start: int, wanted: float) -> int:
    """From `start` on, the first step that photographs on average take with `wanted` characters; or the last one."""
    fitting = (step for step in range(start, len(_STEPS)) if _STEPS[step][2] <= wanted)
    return next(fitting, len(_STEPS) - 1)


def _encoded(image: Image.Image, side: int, quality: int) -> str:
    small = image if max(image.size) <= side else _fitted(image, side)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality, optimize=True)
    return _HEAD + base64.b64encode(buffer.getvalue()).decode()


def _fitted(image: Image.Image, side: int) -> Image.Image:
    factor = side / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
