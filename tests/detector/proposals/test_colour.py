import colorsys
import itertools
from collections.abc import Callable

import numpy as np
import pytest

from detector.proposals.colour import blur, to_hsv, to_lab, to_rgi


def planes(colours: np.ndarray) -> np.ndarray:
    """(N, 3) -> uint8 (3, H, W) of different sides, the last colour repeated."""
    height = int(len(colours) ** 0.5)
    width = -(-len(colours) // height) + 1
    filled = np.concatenate([colours, np.repeat(colours[-1:], height * width - len(colours), axis=0)])
    return np.ascontiguousarray(filled.T.reshape(3, height, width).astype(np.uint8))


def cube(steps: int) -> np.ndarray:
    """(N, 3): a grid over the RGB cube with its corners, and all greys."""
    values = np.linspace(0, 255, steps).astype(int)
    grid = np.stack(np.meshgrid(values, values, values), axis=-1).reshape(-1, 3)
    return np.concatenate([grid, np.repeat(np.arange(256)[:, None], 3, axis=1)])


def dim() -> np.ndarray:
    """(N, 3): all colours of up to 5 grey levels, and all next to white."""
    few = np.array(list(itertools.product(range(6), repeat=3)))
    return np.concatenate([few, 255 - few])


CORNERS = np.array(list(itertools.product((0, 255), repeat=3)))


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* by the book (IEC 61966-2-1 and D65), float64, scaled to the bytes that are meant: (..., 3)."""
    value = rgb / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    t = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([(116 * y - 16) * 2.55, 500 * (x - y) + 128, 200 * (y - z) + 128], axis=-1)


@pytest.mark.parametrize("colours", [CORNERS, dim(), cube(52)], ids=["corners", "dim", "cube"])
def test_lab_is_the_books_within_two_levels(colours: np.ndarray) -> None:
    pixels = planes(colours)
    found = to_lab(pixels)
    assert found.dtype == np.uint8 and found.shape == pixels.shape
    error = found.transpose(1, 2, 0) - lab(pixels.transpose(1, 2, 0))
    assert np.abs(error).max() <= 2  # no byte has wrapped round either


@pytest.mark.parametrize("colours", [CORNERS, dim(), cube(18)], ids=["corners", "dim", "cube"])
def test_hsv_is_the_standard_librarys_rounded_down(colours: np.ndarray) -> None:
    pixels = planes(colours)
    expected = np.array([colorsys.rgb_to_hsv(*(c / 255.0)) for c in pixels.reshape(3, -1).T]).T.reshape(pixels.shape)
    found = to_hsv(pixels)
    assert found.dtype == np.uint8
    lost = expected * 255 - found
    assert lost.min() > -1e-3 and lost.max() < 1 + 1e-3
    np.testing.assert_array_equal(found[2], pixels.max(axis=0))


@pytest.mark.parametrize("colours", [CORNERS, dim(), cube(52)], ids=["corners", "dim", "cube"])
def test_rgi_is_two_shares_and_the_mean_rounded_down(colours: np.ndarray) -> None:
    pixels = planes(colours)
    found = to_rgi(pixels)
    assert found.dtype == np.uint8
    total = pixels.astype(int).sum(axis=0)
    for c in range(2):
        lost = 255.0 * pixels[c] / np.maximum(total, 1) - found[c]
        assert lost.min() > -1e-3 and lost.max() < 1 + 1e-3
    np.testing.assert_array_equal(found[2], total // 3)


def test_pure_colours_are_where_they_belong() -> None:
    names = ["black", "blue", "green", "cyan", "red", "magenta", "yellow", "white"]
    hsv = dict(zip(names, to_hsv(planes(CORNERS)).reshape(3, -1).T.tolist(), strict=False))
    assert hsv == {
        "black": [0, 0, 0],
        "white": [0, 0, 255],
        "red": [0, 255, 255],
        "yellow": [42, 255, 255],
        "green": [85, 255, 255],
        "cyan": [127, 255, 255],
        "blue": [170, 255, 255],
        "magenta": [212, 255, 255],
    }
    rgi = dict(zip(names, to_rgi(planes(CORNERS)).reshape(3, -1).T.tolist(), strict=False))
    assert rgi == {
        "black": [0, 0, 0],
        "white": [85, 85, 255],
        "red": [255, 0, 85],
        "yellow": [127, 127, 170],
        "green": [0, 255, 85],
        "cyan": [0, 127, 170],
        "blue": [0, 0, 85],
        "magenta": [127, 0, 170],
    }
    lightness = to_lab(planes(CORNERS)).reshape(3, -1)[0, :8]
    assert lightness.argsort().tolist() == [names.index(name) for name in
        ["black", "blue", "red", "magenta", "green", "cyan", "yellow", "white"]]  # fmt: skip


@pytest.mark.parametrize("convert", [to_lab, to_hsv, to_rgi])
def test_a_pixels_colour_depends_on_no_other(noise: Callable[..., np.ndarray], convert: Callable) -> None:
    pixels = noise(13, 37).transpose(2, 0, 1).copy()
    found = convert(pixels)
    for y, x in ((0, 0), (0, 36), (12, 0), (12, 36), (5, 20)):
        np.testing.assert_array_equal(found[:, y, x], convert(pixels[:, y : y + 1, x : x + 1].copy())[:, 0, 0])


def plain_blur(plane: np.ndarray) -> np.ndarray:
    """(H, W): along the rows, rounded, then along the columns, rounded."""
    taps = {-2: 6, -1: 58, 0: 128, 1: 58, 2: 6}
    height, width = plane.shape

    def row(y: int, x: int) -> int:
        return (sum(tap * int(plane[y, min(max(x + d, 0), width - 1)]) for d, tap in taps.items()) + 128) // 256

    across = [[row(y, x) for x in range(width)] for y in range(height)]
    return np.array(
        [
            [(sum(t * across[min(max(y + d, 0), height - 1)][x] for d, t in taps.items()) + 128) // 256
             for x in range(width)]
            for y in range(height)
        ]
    )  # fmt: skip


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (2, 1), (1, 9), (9, 1), (2, 3), (3, 2), (12, 17)])
def test_blur_is_a_separable_gaussian_with_repeated_edges(
    noise: Callable[..., np.ndarray], height: int, width: int
) -> None:
    pixels = noise(height, width).transpose(2, 0, 1).copy()
    for shown in (pixels, np.where(pixels > 127, np.uint8(255), np.uint8(0))):
        found = blur(shown)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, np.stack([plain_blur(plane) for plane in shown]))


def test_the_blurs_taps_are_a_gaussians() -> None:
    taps = np.array([6, 58, 128, 58, 6])
    gaussian = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 0.8**2))
    np.testing.assert_allclose(taps / taps.sum(), gaussian / gaussian.sum(), atol=0.002)
    assert taps.sum() == 256


@pytest.mark.parametrize("value", [0, 1, 128, 254, 255])
def test_one_colour_stays_that_colour(value: int) -> None:
    pixels = np.full((3, 7, 5), value, np.uint8)
    np.testing.assert_array_equal(blur(pixels), pixels)
