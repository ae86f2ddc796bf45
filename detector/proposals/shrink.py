"""Reduces an image, as separate planes, because the time of the search grows with the number of pixels."""

from __future__ import annotations

import math

import numpy as np

from detector.proposals.compiled import compiled

# The longest side, so that coordinates fit into 16 bits.
_LONGEST = 65_535


def small_shape(height: int, width: int, area: int) -> tuple[int, int]:
    """Return the (height, width) of an image of the same shape with about `area` pixels.

    The size does not change if there are no more pixels than that. No side is longer than 65,535.
    """
    factor = min(math.sqrt(area / (height * width)), _LONGEST / max(height, width))
    if factor >= 1:
        return height, width
    # A side stays at least one pixel; then only the other side is reduced.
    if min(height, width) * factor < 1:
        factor = min(area, _LONGEST) / max(height, width)
    return min(height, max(1, round(height * factor))), min(width, max(1, round(width * factor)))


@compiled
def _taps(source, target):  # type: ignore[no-untyped-def]
    """Return (first (target,), weights (T, target)): a triangle over two target pixels, at least two source pixels."""
    ratio = source / target
    weights = np.zeros((int(np.ceil(2 * ratio)) + 1, target), np.float32)
    first = np.empty(target, np.int32)
    for i in range(target):
        centre = (i + 0.5) * ratio
        start, stop = max(0, int(centre - ratio + 0.5)), min(source, int(centre + ratio + 0.5))
        first[i] = start
        total = 0.0
        for j in range(start, stop):
            total += max(0.0, 1 - abs(j + 0.5 - centre) / ratio)
        for j in range(start, stop):
            weights[j - start, i] = max(0.0, 1 - abs(j + 0.5 - centre) / ratio) / total
    return first, weights


@compiled
def shrink(rgb, height, width):  # type: ignore[no-untyped-def]
    """Return planes uint8 (3, height, width) of contiguous uint8 (H, W, 3), bilinear with antialiasing.

    height <= H, width <= W. Memory holds one row of the image at a time.
    """
    source_height, source_width, _ = rgb.shape
    values = 3 * source_width
    rows = rgb.reshape(source_height, values)
    first_y, weights_y = _taps(source_height, height)
    first_x, weights_x = _taps(source_width, width)
    steps = len(weights_x)
    out = np.empty((3, height, width), np.uint8)
    # The zeros after the last pixel are for weights beyond the right edge.
    row = np.zeros(values + 3 * steps, np.float32)
    line = np.empty(width, np.float32)
    first_x = 3 * first_x
    for y in range(height):
        row[:values] = 0
        for step in range(min(len(weights_y), source_height - first_y[y])):
            weight = weights_y[step, y]
            source = rows[first_y[y] + step]
            for x in range(values):
                row[x] += weight * np.float32(source[x])
        for c in range(3):
            line[:] = np.float32(0.5)  # rounds
            for step in range(steps):
                offset = 3 * step + c
                for x in range(width):
                    line[x] += weights_x[step, x] * row[first_x[x] + offset]
            for x in range(width):
                out[c, y, x] = np.uint8(np.int32(line[x]))
    return out
