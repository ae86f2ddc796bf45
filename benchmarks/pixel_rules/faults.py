"""The planted faults: each makes the pixels of a photograph as a camera with that fault would."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from detector.runtime.images import Pixels

Fault = Callable[[Pixels, np.random.Generator], Pixels]


def noisy(pixels: Pixels, sigma: float, random: np.random.Generator) -> Pixels:
    """Add noise with a standard deviation of `sigma` levels."""
    return np.clip(np.rint(pixels + random.normal(0, sigma, pixels.shape)), 0, 255).astype(np.uint8)


def _stuck(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """Return one of the frames of a camera that hangs: the same image with other noise."""
    return noisy(pixels, 2, random)


def _defocused(pixels: Pixels, _: np.random.Generator) -> Pixels:
    blur = ImageFilter.GaussianBlur(max(pixels.shape) / 100)
    return np.asarray(Image.fromarray(pixels).filter(blur))


def _night(pixels: Pixels, random: np.random.Generator) -> Pixels:
    return noisy((pixels * 0.15).astype(np.uint8), 4, random)


def _overexposed(pixels: Pixels, _: np.random.Generator) -> Pixels:
    return np.clip(pixels * 2.5, 0, 255).astype(np.uint8)


def _rotated(pixels: Pixels, _: np.random.Generator) -> Pixels:
    return np.ascontiguousarray(np.rot90(pixels))


def _cropped(pixels: Pixels, _: np.random.Generator) -> Pixels:
    return np.ascontiguousarray(pixels[:, : max(1, pixels.shape[1] // 2)])


def _swapped(pixels: Pixels, _: np.random.Generator) -> Pixels:
    return np.ascontiguousarray(pixels[..., ::-1])


# All images of the camera are frames of one photograph.
STUCK = "stuck camera"
FAULTS: dict[str, Fault] = {
    STUCK: _stuck,
    "defocus": _defocused,
    "night": _night,
    "overexposure": _overexposed,
    "rotated camera": _rotated,
    "wrong crop": _cropped,
    "colour channels swapped": _swapped,
}
# The prefix holds photographs of another collection, as they are.
REPLACED = "one prefix replaced"
CLEAN = "clean"
