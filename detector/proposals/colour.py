"""The colour spaces in which Selective Search segments an image: uint8 planes (3, H, W) of similar contrast.

The code works on planes, row by row and in 32 bits, because the compiler turns this into vector instructions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.proposals.compiled import compiled

Planes = NDArray[np.uint8]

# sRGB (D65) to XYZ, each row divided by the white point, so that white is (1, 1, 1).
_XYZ = np.array(
    [
        [0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883],
    ],
    np.float32,
)
_STEPS = 4096


def _linear_table() -> NDArray[np.float32]:
    """Return the linear light in [0, 1] of each of the 256 sRGB values."""
    value = np.arange(256) / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _cube_root_table() -> NDArray[np.float32]:
    """Return CIE's f(t) for t = 0..1, with one more entry for white, which rounding can raise above 1."""
    t = np.minimum(np.arange(_STEPS + 2) / _STEPS, 1.0)
    return np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116).astype(np.float32)


_LINEAR = _linear_table()
_CUBE_ROOT = _cube_root_table()


@compiled
def to_lab(rgb):  # type: ignore[no-untyped-def]
    """Return CIE L*a*b* planes of sRGB planes, to two levels: L times 2.55, a and b plus 128."""
    _, height, width = rgb.shape
    out = np.empty((3, height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            r, g, b = _LINEAR[rgb[0, y, x]], _LINEAR[rgb[1, y, x]], _LINEAR[rgb[2, y, x]]
            fx = _CUBE_ROOT[np.uint32((_XYZ[0, 0] * r + _XYZ[0, 1] * g + _XYZ[0, 2] * b) * np.float32(_STEPS))]
            fy = _CUBE_ROOT[np.uint32((_XYZ[1, 0] * r + _XYZ[1, 1] * g + _XYZ[1, 2] * b) * np.float32(_STEPS))]
            fz = _CUBE_ROOT[np.uint32((_XYZ[2, 0] * r + _XYZ[2, 1] * g + _XYZ[2, 2] * b) * np.float32(_STEPS))]
            out[0, y, x] = np.uint8(np.int32((np.float32(116) * fy - np.float32(16)) * np.float32(2.55)))
            out[1, y, x] = np.uint8(np.int32(np.float32(500) * (fx - fy) + np.float32(128)))
            out[2, y, x] = np.uint8(np.int32(np.float32(200) * (fy - fz) + np.float32(128)))
    return out


@compiled
def to_hsv(rgb):  # type: ignore[no-untyped-def]
    """Return hue, saturation and value of sRGB planes, each in 0..255."""
    _, height, width = rgb.shape
    out = np.empty((3, height, width), np.uint8)
    sixth = np.float32(255 / 6)
    for y in range(height):
        reds, greens, blues = rgb[0, y], rgb[1, y], rgb[2, y]
        hues, saturations, values = out[0, y], out[1, y], out[2, y]
        for x in range(width):
            r, g, b = np.float32(reds[x]), np.float32(greens[x]), np.float32(blues[x])
            value = max(r, max(g, b))
            chroma = value - min(r, min(g, b))
            scale = sixth / max(chroma, np.float32(1))
            if value == r:
                hue = (g - b) * scale
            elif value == g:
                hue = (b - r) * scale + np.float32(2) * sixth
            else:
                hue = (r - g) * scale + np.float32(4) * sixth
            hue = hue + np.float32(255) if hue < np.float32(0) else hue
            hues[x] = np.uint8(np.int32(hue))
            saturations[x] = np.uint8(np.int32(chroma * np.float32(255) / max(value, np.float32(1))))
            values[x] = reds[x] if value == r else (greens[x] if value == g else blues[x])
    return out


@compiled
def to_rgi(rgb):  # type: ignore[no-untyped-def]
    """Return the shares of red and green in the sum of the sRGB planes, times 255, and a third of that sum."""
    _, height, width = rgb.shape
    out = np.empty((3, height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            r, g, b = np.float32(rgb[0, y, x]), np.float32(rgb[1, y, x]), np.float32(rgb[2, y, x])
            total = r + g + b
            scale = np.float32(255) / max(total, np.float32(1))
            out[0, y, x] = np.uint8(np.int32(r * scale))
            out[1, y, x] = np.uint8(np.int32(g * scale))
            out[2, y, x] = np.uint8(np.int32(total * np.float32(1 / 3)))
    return out


@compiled
def blur(planes):  # type: ignore[no-untyped-def]
    """Return the planes blurred by a Gaussian of sigma 0.8, Felzenszwalb and Huttenlocher's pre-smoothing.

    The weights are 6-58-128-58-6 over 256 in both directions. Edges are repeated; each direction is rounded to uint8.
    """
    _, height, width = planes.shape
    out = np.empty((3, height, width), np.uint8)
    line = np.empty(width + 4, np.uint8)
    across = np.empty((height, width), np.uint8)
    for c in range(3):
        for y in range(height):
            line[2 : width + 2] = planes[c, y]
            line[:2] = planes[c, y, 0]
            line[width + 2 :] = planes[c, y, width - 1]
            for x in range(width):
                total = np.uint32(128) * line[x + 2] + np.uint32(58) * (np.uint32(line[x + 1]) + line[x + 3])
                total += np.uint32(6) * (np.uint32(line[x]) + line[x + 4])
                across[y, x] = np.uint8((np.uint32(total) + np.uint32(128)) >> np.uint32(8))
        for y in range(height):
            up2, up, here = across[max(y - 2, 0)], across[max(y - 1, 0)], across[y]
            down, down2 = across[min(y + 1, height - 1)], across[min(y + 2, height - 1)]
            smooth = out[c, y]
            for x in range(width):
                total = np.uint32(128) * here[x] + np.uint32(58) * (np.uint32(up[x]) + down[x])
                total += np.uint32(6) * (np.uint32(up2[x]) + down2[x])
                smooth[x] = np.uint8((np.uint32(total) + np.uint32(128)) >> np.uint32(8))
    return out
