"""What grouping needs of each region: size, box, colour and texture histograms, and neighbours.

Shapes: R regions, P pairs of neighbours, COLOUR_BINS and TEXTURE_BINS histogram entries.
"""

from __future__ import annotations

import numba
import numpy as np

# 25 bins a colour channel (Uijlings et al., IJCV 2013, section 3.2).
_COLOUR_STEPS = 25
COLOUR_BINS = 3 * _COLOUR_STEPS
# The paper takes 8 orientations of Gaussian derivatives x 10 bins a channel; here 8 orientations of the grey gradient
# x 6 steps of its magnitude, finer for weak gradients: a histogram a fifth of the size.
_ORIENTATIONS, _MAGNITUDES = 8, 6
TEXTURE_BINS = _ORIENTATIONS * _MAGNITUDES
BINS = COLOUR_BINS + TEXTURE_BINS


@numba.njit(cache=True, nogil=True)
def texture_codes(rgb):  # type: ignore[no-untyped-def]
    """uint8 (H, W, 3) -> uint8 (H, W): the texture bin of each pixel, from central differences of the grey value."""
    height, width, _ = rgb.shape
    grey = np.empty((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            grey[y, x] = 77 * np.int32(rgb[y, x, 0]) + 150 * np.int32(rgb[y, x, 1]) + 29 * np.int32(rgb[y, x, 2])
    codes = np.empty((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            gx = grey[y, min(x + 1, width - 1)] - grey[y, max(x - 1, 0)]
            gy = grey[min(y + 1, height - 1), x] - grey[max(y - 1, 0), x]
            ax, ay = abs(gx), abs(gy)
            octant = (4 if gy < 0 else 0) + (2 if (gx < 0) != (gy < 0) else 0) + (1 if ay > ax else 0)
            # Thresholds 2, 5, 11, 23, 47 grey levels: each step doubles.
            size = (ax + ay) >> 8
            step = 0
            while step < _MAGNITUDES - 1 and size >= 3 * (1 << step) - 1:
                step += 1
            codes[y, x] = octant * _MAGNITUDES + step
    return codes


@numba.njit(cache=True, nogil=True)
def describe(labels, regions, colours, codes):  # type: ignore[no-untyped-def]
    """labels int32 (H, W), colours uint8 (H, W, 3), codes uint8 (H, W) ->
    (size int32 (R,), box int32 (R, 4) half-open xyxy, histogram float32 (R, BINS)).

    The colour half and the texture half of a histogram each sum to 1.
    """
    height, width = labels.shape
    size = np.zeros(regions, np.int32)
    box = np.empty((regions, 4), np.int32)
    box[:, :2] = max(height, width)
    box[:, 2:] = 0
    counts = np.zeros((regions, BINS), np.int32)
    for y in range(height):
        for x in range(width):
            r = labels[y, x]
            size[r] += 1
            box[r, 0] = min(box[r, 0], x)
            box[r, 1] = min(box[r, 1], y)
            box[r, 2] = max(box[r, 2], x + 1)
            box[r, 3] = max(box[r, 3], y + 1)
            for c in range(3):
                counts[r, c * _COLOUR_STEPS + (np.int32(colours[y, x, c]) * _COLOUR_STEPS >> 8)] += 1
            counts[r, COLOUR_BINS + codes[y, x]] += 1
    histogram = np.empty((regions, BINS), np.float32)
    for r in range(regions):
        for c in range(COLOUR_BINS):
            histogram[r, c] = counts[r, c] / np.float32(3 * size[r])
        for c in range(COLOUR_BINS, BINS):
            histogram[r, c] = counts[r, c] / np.float32(size[r])
    return size, box, histogram


@numba.njit(cache=True, nogil=True)
def neighbours(labels, regions):  # type: ignore[no-untyped-def]
    """labels int32 (H, W) -> pairs int32 (P, 2) of regions that touch, each once, smaller label first, sorted."""
    height, width = labels.shape
    keys = np.empty(2 * height * width, np.int64)
    count = 0
    for y in range(height):
        for x in range(width):
            a = labels[y, x]
            for down in range(2):
                ny, nx = y + down, x + 1 - down
                if ny == height or nx == width:
                    continue
                b = labels[ny, nx]
                if a != b:
                    key = np.int64(min(a, b)) * regions + max(a, b)
                    # A border runs along many pixels: most repeats follow each other.
                    if count == 0 or keys[count - 1] != key:
                        keys[count] = key
                        count += 1
    unique = np.unique(keys[:count])
    pairs = np.empty((len(unique), 2), np.int32)
    for i in range(len(unique)):
        pairs[i, 0] = unique[i] // regions
        pairs[i, 1] = unique[i] % regions
    return pairs
