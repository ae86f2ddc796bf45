import colorsys
from collections.abc import Callable

import numpy as np
import pytest

from detector.proposals.colour import blur, to_hsv, to_lab


def every_colour() -> np.ndarray:
    """uint8 (72, 73, 3): a grid over the RGB cube, its corners, and the greys."""
    steps = np.linspace(0, 255, 17).astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    rows = np.concatenate([grid, greys])[: 71 * 72]
    return np.ascontiguousarray(np.resize(np.concatenate([rows, [[255, 255, 255]]]), (72, 73, 3)).astype(np.uint8))


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* by the book (IEC 61966-2-1 and D65), float64."""
    value = rgb / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    t = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([(116 * y - 16) * 2.55, 500 * (x - y) + 128, 200 * (y - z) + 128], axis=-1)


def test_lab_is_the_books_within_two_levels() -> None:
    colours = every_colour()
    found = to_lab(colours)
    assert found.dtype == np.uint8 and found.shape == colours.shape
    assert np.abs(found - np.clip(lab(colours), 0, 255)).max() <= 2


def test_hsv_is_the_standard_librarys_within_one_level() -> None:
    colours = every_colour()
    expected = np.array([colorsys.rgb_to_hsv(*(c / 255.0)) for c in colours.reshape(-1, 3)]) * 255
    found = to_hsv(colours).reshape(-1, 3)
    assert np.abs(found - expected).max() <= 1.0001


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (2, 3), (12, 17)])
def test_blur_is_a_separable_gaussian_with_repeated_edges(
    noise: Callable[..., np.ndarray], height: int, width: int
) -> None:
    taps = np.array([6, 58, 128, 58, 6])
    pixels = noise(height, width)
    padded = np.pad(pixels.astype(np.int64), ((2, 2), (2, 2), (0, 0)), mode="edge")
    rows = sum(taps[i] * padded[:, i : i + width] for i in range(5))
    total = sum(taps[i] * rows[i : i + height] for i in range(5))
    np.testing.assert_array_equal(blur(pixels), (total + 32768) // 65536)
    gaussian = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 0.8**2))
    np.testing.assert_allclose(taps / 256, gaussian / gaussian.sum(), atol=0.002)
