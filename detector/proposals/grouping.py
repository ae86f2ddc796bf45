"""Hierarchical grouping (Uijlings et al., IJCV 2013, algorithm 1).

It joins the two most similar neighbouring regions until one is left; every region on the way is a candidate.

Shapes: R regions, P pairs of neighbours; BINS as in `regions`. A similarity is the sum of up to four measures in
[0, UNIT], apart from rounding. They are whole numbers, so that comparisons do not depend on the order of additions or
on the processor.
"""

from __future__ import annotations

import numpy as np

from detector.proposals.compiled import compiled
from detector.proposals.regions import BINS, COLOUR_BINS, UNIT, normalise

# Marks a deleted entry in a list of neighbours.
_DEAD = -1
# Marks a value of `best` that must be computed again.
_STALE = -2
# `best` holds similarity * 2^32 + (_LAST - neighbour): the maximum is the most similar
# neighbour, and the first one if several are equally similar.
_LAST = (1 << 31) - 1
_LOW = (1 << 32) - 1


# There are three loops of constant length instead of one with variable bounds, because the compiler then keeps all sums
# in vector registers, which is five times as fast.
@compiled
def _colour_overlap(histogram, a, b):  # type: ignore[no-untyped-def]
    total = np.uint16(0)
    for i in range(COLOUR_BINS):
        p, q = histogram[a, i], histogram[b, i]
        total = np.uint16(total + (p if p < q else q))
    return np.int64(total)


@compiled
def _texture_overlap(histogram, a, b):  # type: ignore[no-untyped-def]
    total = np.uint16(0)
    for i in range(COLOUR_BINS, BINS):
        p, q = histogram[a, i], histogram[b, i]
        total = np.uint16(total + (p if p < q else q))
    return np.int64(total)


@compiled
def _overlap(histogram, a, b):  # type: ignore[no-untyped-def]
    total = np.uint16(0)
    for i in range(BINS):
        p, q = histogram[a, i], histogram[b, i]
        total = np.uint16(total + (p if p < q else q))
    return np.int64(total)


@compiled
def _add(counts, a, b):  # type: ignore[no-untyped-def]
    for i in range(BINS):
        counts[a, i] += counts[b, i]


@compiled
def _shape(size, box, a, b, per_pixel, use):  # type: ignore[no-untyped-def]
    """Return the sum of the size and fill measures that `use` switches on; per_pixel: UNIT / the image's pixels."""
    both = size[a] + size[b]
    total = np.int64(0)
    if use[2]:
        total += UNIT - np.int64(np.float32(both) * per_pixel)
    if use[3]:
        width = max(box[a, 2], box[b, 2]) - min(box[a, 0], box[b, 0])
        height = max(box[a, 3], box[b, 3]) - min(box[a, 1], box[b, 1])
        total += UNIT - np.int64(np.float32(width * height - both) * per_pixel)
    return total


@compiled
def overlaps(pairs, histogram):  # type: ignore[no-untyped-def]
    """Return int64 (P, 2), the intersections of colour and of texture of each pair.

    pairs: int32 (P, 2); histogram: uint16 (R, BINS).
    """
    out = np.empty((len(pairs), 2), np.int64)
    for i in range(len(pairs)):
        out[i, 0] = _colour_overlap(histogram, pairs[i, 0], pairs[i, 1])
        out[i, 1] = _texture_overlap(histogram, pairs[i, 0], pairs[i, 1])
    return out


@compiled
def _best(first, following, other, score, r):  # type: ignore[no-untyped-def]
    """Return the best entry of a region's list, or -1 if it is empty; dead entries are removed from the list."""
    best = np.int64(-1)
    before = np.int32(-1)
    e = first[r]
    while e >= 0:
        after = following[e]
        if other[e] == _DEAD:
            if before < 0:
                first[r] = after
            else:
                following[before] = after
        else:
            best = max(best, (score[e] << 32) + (_LAST - other[e]))
            before = e
        e = after
    return best


@compiled
def group(size, box, counts, histogram, pairs, shared, image_size, use):  # type: ignore[no-untyped-def]
    """Return boxes int32 (2R - 1, 4) xyxy: those of the given regions, then those of the new ones in their order.

    size: int32 (R,); box: int32 (R, 4); counts: int32 (R, BINS); histogram: uint16 (R, BINS), of the counts; pairs:
    int32 (P, 2), which connect all regions; shared: int64 (P, 2) from `overlaps`; image_size: the number of pixels;
    use: bool (4,), for colour, texture, size and fill.

    A new region gets the index of the first of its two parts. If several pairs are equally similar, the one with the
    lowest first index, then the lowest second index, is joined.
    Time grows with the number of the new region's neighbours, summed over all merges; if one region touches all others,
    with the square of R. Memory grows with R and P.
    """
    count = len(size)
    per_pixel = np.float32(UNIT) / np.float32(image_size)
    size, box = size.copy(), box.copy()
    looks = use[0] or use[1]
    if looks:
        counts, histogram = counts.copy(), histogram.copy()
    # Entry 2i is in the list of pair i's first region and names the second; entry 2i + 1 is the reverse.
    first = np.full(count, -1, np.int32)
    following = np.empty(2 * len(pairs), np.int32)
    other = np.empty(2 * len(pairs), np.int32)
    score = np.empty(2 * len(pairs), np.int64)
    for i in range(len(pairs)):
        a, b = pairs[i, 0], pairs[i, 1]
        other[2 * i], following[2 * i], first[a] = b, first[a], 2 * i
        other[2 * i + 1], following[2 * i + 1], first[b] = a, first[b], 2 * i + 1
        similarity = _shape(size, box, a, b, per_pixel, use)
        if use[0]:
            similarity += shared[i, 0]
        if use[1]:
            similarity += shared[i, 1]
        score[2 * i] = score[2 * i + 1] = similarity
    best = np.empty(count, np.int64)
    for r in range(count):
        best[r] = _best(first, following, other, score, r)
    boxes = np.empty((2 * count - 1, 4), np.int32)
    boxes[:count] = box
    # The last merge in which a region was seen as a neighbour.
    seen = np.full(count, -1, np.int32)
    for merge in range(count - 1):
        most = np.int64(-1)
        for r in range(count):
            most = max(most, best[r])
        # The first region of a most similar pair is the neighbour that its partner names.
        a = _LAST - (most & _LOW)
        b = _LAST - (best[a] & _LOW)
        size[a] += size[b]
        if looks:
            # Histograms come from the counts: mixing and rounding them at each merge would let them grow by a third.
            _add(counts, a, b)
            normalise(histogram, a, counts, size[a])
        box[a, 0], box[a, 1] = min(box[a, 0], box[b, 0]), min(box[a, 1], box[b, 1])
        box[a, 2], box[a, 3] = max(box[a, 2], box[b, 2]), max(box[a, 3], box[b, 3])
        for side in range(4):
            boxes[count + merge, side] = box[a, side]
        seen[a] = seen[b] = merge
        entries = np.int32(-1)
        for part in range(2):
            e = first[b] if part else first[a]
            while e >= 0:
                after = following[e]
                o = other[e]
                if o != _DEAD:
                    if seen[o] == merge:
                        # It is one of the two, or a neighbour of both, which has an entry already.
                        other[e] = other[e ^ 1] = _DEAD
                    else:
                        seen[o] = merge
                        similarity = _shape(size, box, a, o, per_pixel, use)
                        if use[0] and use[1]:
                            similarity += _overlap(histogram, a, o)
                        elif use[0]:
                            similarity += _colour_overlap(histogram, a, o)
                        elif use[1]:
                            similarity += _texture_overlap(histogram, a, o)
                        score[e] = score[e ^ 1] = similarity
                        other[e ^ 1] = a
                        following[e], entries = entries, e
                        was = _LAST - (best[o] & _LOW)
                        if was in (a, b):
                            best[o] = _STALE
                        else:
                            best[o] = max(best[o], (similarity << 32) + (_LAST - a))
                e = after
        first[a] = entries
        best[b] = -1
        best[a] = _best(first, following, other, score, a)
        e = entries
        while e >= 0:
            if best[other[e]] == _STALE:
                best[other[e]] = _best(first, following, other, score, other[e])
            e = following[e]
    return boxes
