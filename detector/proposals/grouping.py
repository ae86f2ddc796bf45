"""Hierarchical grouping (Uijlings et al., IJCV 2013, algorithm 1): join the two most similar neighbouring regions until
one is left; every region on the way is a candidate.
"""

from __future__ import annotations

import numba
import numpy as np

from detector.proposals.regions import BINS, COLOUR_BINS


@numba.njit(cache=True, nogil=True)
def _similarity(a, b, size, box, histogram, image_size, use):  # type: ignore[no-untyped-def]
    """Sum of the measures that `use` (colour, texture, size, fill) switches on, each in [0, 1]."""
    total = np.float32(0)
    if use[0]:
        for c in range(COLOUR_BINS):
            total += min(histogram[a, c], histogram[b, c])
    if use[1]:
        for c in range(COLOUR_BINS, BINS):
            total += min(histogram[a, c], histogram[b, c])
    if use[2]:
        total += np.float32(1) - np.float32(size[a] + size[b]) / image_size
    if use[3]:
        width = max(box[a, 2], box[b, 2]) - min(box[a, 0], box[b, 0])
        height = max(box[a, 3], box[b, 3]) - min(box[a, 1], box[b, 1])
        total += np.float32(1) - np.float32(width * height - size[a] - size[b]) / image_size
    return total


@numba.njit(cache=True, nogil=True)
def group(size, box, histogram, pairs, image_size, use):  # type: ignore[no-untyped-def]
    """Regions and their neighbours -> boxes int32 (2R - 1, 4) xyxy, in the order in which the regions arose.

    size (R,), box (R, 4), histogram (R, BINS), pairs (P, 2) as `regions` makes them; image_size: pixels;
    use bool (4,): colour, texture, size, fill. Equal similarities: the pair that stands first in the list.
    """
    first = len(size)
    total = 2 * first - 1
    sizes = np.empty(total, np.int32)
    boxes = np.empty((total, 4), np.int32)
    histograms = np.empty((total, BINS), np.float32)
    sizes[:first] = size
    boxes[:first] = box
    histograms[:first] = histogram
    count = len(pairs)
    left = pairs[:, 0].copy()
    right = pairs[:, 1].copy()
    score = np.empty(count, np.float32)
    for i in range(count):
        score[i] = _similarity(left[i], right[i], sizes, boxes, histograms, image_size, use)
    # The merged region that a region was last seen to touch: one edge a pair is kept.
    touched = np.full(total, -1, np.int32)
    new = first
    while count > 0:
        best = 0
        for i in range(1, count):
            if score[i] > score[best]:
                best = i
        a, b = left[best], right[best]
        sizes[new] = sizes[a] + sizes[b]
        boxes[new, 0] = min(boxes[a, 0], boxes[b, 0])
        boxes[new, 1] = min(boxes[a, 1], boxes[b, 1])
        boxes[new, 2] = max(boxes[a, 2], boxes[b, 2])
        boxes[new, 3] = max(boxes[a, 3], boxes[b, 3])
        share = np.float32(sizes[a]) / np.float32(sizes[new])
        for c in range(BINS):
            histograms[new, c] = share * histograms[a, c] + (np.float32(1) - share) * histograms[b, c]
        kept = 0
        for i in range(count):
            p, q = left[i], right[i]
            hit_p = p in (a, b)
            hit_q = q in (a, b)
            if hit_p and hit_q:
                continue
            if hit_p or hit_q:
                other = q if hit_p else p
                if touched[other] == new:
                    continue
                touched[other] = new
                left[kept] = other
                right[kept] = new
                score[kept] = _similarity(other, new, sizes, boxes, histograms, image_size, use)
            else:
                left[kept] = p
                right[kept] = q
                score[kept] = score[i]
            kept += 1
        count = kept
        new += 1
    return boxes[:new]
