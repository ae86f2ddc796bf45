"""The colour spaces in which Selective Search segments an image, as uint8 planes of like contrast."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

# sRGB (D65) to XYZ, each row divided by the white point, so that white is (1, 1, 1).
_XYZ = np.array(
    [
        [0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883],
    ]
)


def _linear_table() -> NDArray[np.float32]:
    """sRGB code value (256) -> linear light in [0, 1]."""
    value = np.arange(256) / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _cube_root_table() -> NDArray[np.float32]:
    """CIE's f(t) for t = 0..1 in 4,096 steps: a table is ten times faster than a cube root a pixel."""
    t = np.arange(4097) / 4096.0
    return np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116).astype(np.float32)


_LINEAR = _linear_table()
_CUBE_ROOT = _cube_root_table()


@numba.njit(cache=True, nogil=True)
def _lab(rgb, linear, cube_root, matrix):  # type: ignore[no-untyped-def]
    height, width, _ = rgb.shape
    out = np.empty((height, width, 3), np.uint8)
    f = np.empty(3, np.float32)
    for y in range(height):
        for x in range(width):
            r, g, b = linear[rgb[y, x, 0]], linear[rgb[y, x, 1]], linear[rgb[y, x, 2]]
            for c in range(3):
                t = matrix[c, 0] * r + matrix[c, 1] * g + matrix[c, 2] * b
                f[c] = cube_root[min(4096, int(t * 4096.0))]
            # L in [0, 100] is stretched to a byte; a and b keep their units around 128, as in 8-bit Lab images.
            out[y, x, 0] = np.uint8(min(255.0, max(0.0, (116.0 * f[1] - 16.0) * 2.55)))
            out[y, x, 1] = np.uint8(min(255.0, max(0.0, 500.0 * (f[0] - f[1]) + 128.0)))
            out[y, x, 2] = np.uint8(min(255.0, max(0.0, 200.0 * (f[1] - f[2]) + 128.0)))
    return out


@numba.njit(cache=True, nogil=True)
def _hsv(rgb):  # type: ignore[no-untyped-def]
    height, width, _ = rgb.shape
    out = np.empty((height, width, 3), np.uint8)
    for y in range(height):
        for x in range(width):
            r, g, b = np.int32(rgb[y, x, 0]), np.int32(rgb[y, x, 1]), np.int32(rgb[y, x, 2])
            value = max(r, g, b)
            chroma = value - min(r, g, b)
            if chroma == 0:
                hue = 0.0
            elif value == r:
                hue = (g - b) / chroma
            elif value == g:
                hue = (b - r) / chroma + 2.0
            else:
                hue = (r - g) / chroma + 4.0
            if hue < 0.0:
                hue += 6.0
            out[y, x, 0] = np.uint8(hue * (255.0 / 6.0))
            out[y, x, 1] = np.uint8(chroma * 255 // value) if value > 0 else np.uint8(0)
            out[y, x, 2] = np.uint8(value)
    return out


def to_lab(rgb: Pixels) -> Pixels:
    """uint8 sRGB (H, W, 3) -> uint8 CIE L*a*b* (H, W, 3): L times 2.55, a and b plus 128."""
    return _lab(rgb, _LINEAR, _CUBE_ROOT, _XYZ)


def to_hsv(rgb: Pixels) -> Pixels:
    """uint8 sRGB (H, W, 3) -> uint8 HSV (H, W, 3), each of hue, saturation and value in 0..255."""
    return _hsv(rgb)


@numba.njit(cache=True, nogil=True)
def blur(rgb):  # type: ignore[no-untyped-def]
    """Gaussian of sigma 0.8 (Felzenszwalb and Huttenlocher's pre-smoothing): taps 6-58-128-58-6 over 256,
    both ways, edges repeated.

    uint8 (H, W, 3) -> uint8 (H, W, 3).
    """
    height, width, channels = rgb.shape
    row = np.empty((height, width, channels), np.int32)
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                row[y, x, c] = (
                    128 * np.int32(rgb[y, x, c])
                    + 58 * (np.int32(rgb[y, max(x - 1, 0), c]) + np.int32(rgb[y, min(x + 1, width - 1), c]))
                    + 6 * (np.int32(rgb[y, max(x - 2, 0), c]) + np.int32(rgb[y, min(x + 2, width - 1), c]))
                )
    out = np.empty((height, width, channels), np.uint8)
    for y in range(height):
        up, up2, down, down2 = max(y - 1, 0), max(y - 2, 0), min(y + 1, height - 1), min(y + 2, height - 1)
        for x in range(width):
            for c in range(channels):
                total = 128 * row[y, x, c] + 58 * (row[up, x, c] + row[down, x, c])
                total += 6 * (row[up2, x, c] + row[down2, x, c])
                out[y, x, c] = np.uint8((total + 32768) >> 16)
    return out
