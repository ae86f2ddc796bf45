"""Computes the size, box, and colour and texture histograms of each region, for grouping.

Shapes: R regions, BINS histogram entries, of which the first COLOUR_BINS are for colour and the others for texture.
"""

from __future__ import annotations

import numpy as np

from detector.proposals.compiled import compiled

# The paper has 25 bins for each channel (Uijlings et al., IJCV 2013, section 3.2); three times 21 fill whole vectors.
_COLOUR_STEPS = 21
COLOUR_BINS = 64
# The paper has 8 orientations of Gaussian derivatives x 10 bins for each channel. Here they are 8 orientations of the
# grey gradient x 6 steps of its magnitude, finer for weak gradients, so that histograms have a fifth of the size.
_MAGNITUDES = 6
BINS = 128
# The sum of each half of a histogram, and the maximum of each measure of similarity; both halves fit into 16 bits.
UNIT = 1 << 14


@compiled
def texture_codes(planes):  # type: ignore[no-untyped-def]
    """Return the texture bin of each pixel, uint8 (H, W), from central differences of grey.

    planes: uint8 (3, H, W).
    """
    _, height, width = planes.shape
    grey = np.empty((height, width + 2), np.int16)  # the edges are repeated to the left and right
    for y in range(height):
        line = grey[y]
        for x in range(width):
            r, g, b = np.uint32(planes[0, y, x]), np.uint32(planes[1, y, x]), np.uint32(planes[2, y, x])
            line[x + 1] = np.int16((np.uint32(77) * r + np.uint32(150) * g + np.uint32(29) * b) >> np.uint32(8))
        line[0], line[width + 1] = line[1], line[width]
    codes = np.empty((height, width), np.uint8)
    for y in range(height):
        up, here, down, code = grey[max(y - 1, 0)], grey[y], grey[min(y + 1, height - 1)], codes[y]
        for x in range(width):
            gx = np.int32(here[x + 2]) - np.int32(here[x])
            gy = np.int32(down[x + 1]) - np.int32(up[x + 1])
            ax, ay = abs(gx), abs(gy)
            octant = np.int32(4) * np.int32(gy < 0) + np.int32(2) * np.int32((gx < 0) != (gy < 0)) + np.int32(ay > ax)
            # Thresholds 2, 5, 11, 23, 47 grey levels: each step doubles.
            slope = ax + ay
            step = np.int32(slope >= 2) + np.int32(slope >= 5) + np.int32(slope >= 11)
            step += np.int32(slope >= 23) + np.int32(slope >= 47)
            code[x] = np.uint8(octant * np.int32(_MAGNITUDES) + step)
    return codes


@compiled
def describe(labels, regions, planes, codes):  # type: ignore[no-untyped-def]
    """Return (size int32 (R,), box int32 (R, 4) half-open xyxy, counts int32 (R, BINS) of pixels).

    labels: int32 (H, W), of R `regions`; planes: uint8 (3, H, W); codes: uint8 (H, W) from `texture_codes`.
    """
    height, width = labels.shape
    size = np.zeros(regions, np.int32)
    box = np.empty((regions, 4), np.int32)
    box[:, 0], box[:, 1], box[:, 2], box[:, 3] = width, height, 0, 0
    counts = np.zeros((regions, BINS), np.int32)
    bins = np.empty((4, width), np.uint8)
    for y in range(height):
        for c in range(3):
            values, line, offset = planes[c, y], bins[c], np.uint32(c * _COLOUR_STEPS)
            for x in range(width):
                line[x] = np.uint8(offset + ((np.uint32(values[x]) * np.uint32(_COLOUR_STEPS)) >> np.uint32(8)))
        bins[3] = codes[y] + np.uint8(COLOUR_BINS)
        x = 0
        while x < width:
            # Neighbours are mostly in the same region, so that its box grows once for each run of pixels.
            r, start = labels[y, x], x
            count = counts[r]
            while x < width and labels[y, x] == r:
                count[bins[0, x]] += 1
                count[bins[1, x]] += 1
                count[bins[2, x]] += 1
                count[bins[3, x]] += 1
                x += 1
            size[r] += x - start
            box[r, 0], box[r, 1] = min(box[r, 0], start), min(box[r, 1], y)
            box[r, 2], box[r, 3] = max(box[r, 2], x), y + 1
    return size, box, counts


@compiled
def combine(names, regions, size, box, counts):  # type: ignore[no-untyped-def]
    """Return size, box and counts of a coarser segmentation with `regions` regions.

    names: int32 (R,), the coarser region of each region; size, box, counts: of the finer ones, from `describe`.
    """
    sizes = np.zeros(regions, np.int32)
    boxes = np.empty((regions, 4), np.int32)
    boxes[:, :2] = np.iinfo(np.int32).max
    boxes[:, 2:] = 0
    sums = np.zeros((regions, BINS), np.int32)
    for i in range(len(names)):
        r = names[i]
        sizes[r] += size[i]
        for side in range(2):
            boxes[r, side] = min(boxes[r, side], box[i, side])
            boxes[r, side + 2] = max(boxes[r, side + 2], box[i, side + 2])
        for b in range(BINS):
            sums[r, b] += counts[i, b]
    return sizes, boxes, sums


@compiled
def normalise(out, r, counts, size):  # type: ignore[no-untyped-def]
    """Write region r's histogram, uint16 out[r], from its counts and its size in pixels."""
    colour, texture = np.float32(UNIT) / np.float32(3 * size), np.float32(UNIT) / np.float32(size)
    for b in range(COLOUR_BINS):
        out[r, b] = np.uint16(np.int32(np.float32(counts[r, b]) * colour + np.float32(0.5)))
    for b in range(COLOUR_BINS, BINS):
        out[r, b] = np.uint16(np.int32(np.float32(counts[r, b]) * texture + np.float32(0.5)))


@compiled
def histograms(size, counts):  # type: ignore[no-untyped-def]
    """Return histograms uint16 (R, BINS), each half of which sums to UNIT, apart from rounding.

    size: int32 (R,); counts: int32 (R, BINS).
    """
    regions = len(size)
    out = np.empty((regions, BINS), np.uint16)
    for r in range(regions):
        normalise(out, r, counts, size[r])
    return out
