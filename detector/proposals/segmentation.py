"""Graph-based segmentation (Felzenszwalb and Huttenlocher, IJCV 2004) on the 4-neighbour grid.

Two components are joined when the edge between them is no heavier than either's inner variation plus k / size; edges
are taken by weight. Weights are quantised, so that a counting sort orders them, in linear time and the same way always.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
# One bucket is half a grey level; the largest distance between two 8-bit colours is 255 * sqrt(3) < 442.
_BUCKETS_PER_LEVEL = 2
_BUCKETS = 442 * _BUCKETS_PER_LEVEL


@numba.njit(cache=True, nogil=True, inline="always")
def _find(parent, i):  # type: ignore[no-untyped-def]
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@numba.njit(cache=True, nogil=True)
def sorted_edges(pixels):  # type: ignore[no-untyped-def]
    """uint8 (H, W, 3) -> (edges int32 (E,), weights float32 (E,)), lightest first; ties in raster order.

    Edge 2p joins pixel p (row-major) to its right neighbour, edge 2p + 1 to the one below. A weight is the Euclidean
    distance of the two colours, rounded down to half a grey level.
    """
    height, width, _ = pixels.shape
    bucket = np.empty(2 * height * width, np.int16)
    counts = np.zeros(_BUCKETS + 1, np.int32)
    for y in range(height):
        for x in range(width):
            a0, a1, a2 = np.int32(pixels[y, x, 0]), np.int32(pixels[y, x, 1]), np.int32(pixels[y, x, 2])
            edge = 2 * (y * width + x)
            for down in range(2):
                ny, nx = y + down, x + 1 - down
                if ny == height or nx == width:
                    bucket[edge + down] = -1
                    continue
                d0 = a0 - np.int32(pixels[ny, nx, 0])
                d1 = a1 - np.int32(pixels[ny, nx, 1])
                d2 = a2 - np.int32(pixels[ny, nx, 2])
                b = np.int32(_BUCKETS_PER_LEVEL * np.sqrt(np.float32(d0 * d0 + d1 * d1 + d2 * d2)))
                bucket[edge + down] = b
                counts[b + 1] += 1
    for level in range(_BUCKETS):
        counts[level + 1] += counts[level]
    edges = np.empty(counts[_BUCKETS], np.int32)
    weights = np.empty(counts[_BUCKETS], np.float32)
    for candidate in range(len(bucket)):
        level = bucket[candidate]
        if level >= 0:
            edges[counts[level]] = candidate
            weights[counts[level]] = np.float32(level) / _BUCKETS_PER_LEVEL
            counts[level] += 1
    return edges, weights


@numba.njit(cache=True, nogil=True)
def segment(edges, weights, height, width, k, min_size):  # type: ignore[no-untyped-def]
    """Sorted edges of an image -> (labels int32 (H, W), number of regions); labels count up in raster order.

    k: preference for larger regions (in the units of the weights); regions of fewer than `min_size` pixels are joined
    to the neighbour across their lightest edge.
    """
    count = height * width
    parent = np.arange(count).astype(np.int32)
    size = np.ones(count, np.int32)
    # Inner variation plus k / size of each root.
    limit = np.full(count, k, np.float32)
    for i in range(len(edges)):
        p = edges[i] >> 1
        a = _find(parent, p)
        b = _find(parent, p + width if edges[i] & 1 else p + 1)
        if a != b and weights[i] <= limit[a] and weights[i] <= limit[b]:
            if size[a] < size[b]:
                a, b = b, a
            parent[b] = a
            size[a] += size[b]
            limit[a] = weights[i] + k / size[a]
    for i in range(len(edges)):
        p = edges[i] >> 1
        a = _find(parent, p)
        b = _find(parent, p + width if edges[i] & 1 else p + 1)
        if a != b and (size[a] < min_size or size[b] < min_size):
            if size[a] < size[b]:
                a, b = b, a
            parent[b] = a
            size[a] += size[b]
    labels = np.empty((height, width), np.int32)
    name = np.full(count, -1, np.int32)
    regions = 0
    for y in range(height):
        for x in range(width):
            root = _find(parent, y * width + x)
            if name[root] < 0:
                name[root] = regions
                regions += 1
            labels[y, x] = name[root]
    return labels, regions
