"""Graph-based segmentation (Felzenszwalb and Huttenlocher, IJCV 2004) on the 4-neighbour grid.

Two components are joined if the edge between them is at most as heavy as the inner variation plus k / size of each.
Edges are visited by weight. Weights are whole grey levels, so that a counting sort orders them in linear time and in a
fixed order. A coarser segmentation starts from the regions of a finer one.

Shapes: E edges, B edges between regions, R regions, P pairs of neighbours.
"""

from __future__ import annotations

import numpy as np

from detector.proposals.compiled import compiled

# Distances of 8-bit colours reach 442; for any k in use, edges heavier than the last weight are like infinite ones.
_HEAVIEST = 254
_NO_EDGE = 255


@compiled
def _find(parent, i):  # type: ignore[no-untyped-def]
    above = parent[i]
    while above != i:
        over = parent[above]
        parent[i] = over  # path halving
        i = over
        above = parent[i]
    return i


@compiled
def weigh(planes):  # type: ignore[no-untyped-def]
    """Return weights uint8 (2, H, W) of the edges to the right and lower neighbour, for planes uint8 (3, H, W).

    A weight is the Euclidean distance of the two colours in grey levels, rounded down, at most 254; 255 means that
    there is no neighbour.
    """
    _, height, width = planes.shape
    weights = np.empty((2, height, width), np.uint8)
    for y in range(height):
        for down in range(2):
            line = weights[down, y]
            if down and y + 1 == height:
                line[:] = _NO_EDGE
                continue
            a, b, c = planes[0, y], planes[1, y], planes[2, y]
            u, v, w = planes[0, y + down, 1 - down :], planes[1, y + down, 1 - down :], planes[2, y + down, 1 - down :]
            for x in range(len(u)):
                i = np.int32(u[x]) - np.int32(a[x])
                j = np.int32(v[x]) - np.int32(b[x])
                k = np.int32(w[x]) - np.int32(c[x])
                distance = np.sqrt(np.float32(i * i + j * j + k * k))
                line[x] = np.uint8(np.int32(min(distance, np.float32(_HEAVIEST))))
            if not down:
                line[width - 1] = _NO_EDGE
    return weights


@compiled
def _without_heaviest(weights):  # type: ignore[no-untyped-def]
    """Return weights uint8 (2, H, W) without the heaviest edge of each square of four pixels.

    Of several equally heavy edges, the last one is removed. When it is visited, the other three have joined its ends,
    unless one of them was refused; no minimum spanning tree needs it. This removes about 40 % of a photograph's edges.
    """
    weights = weights.copy()
    _, height, width = weights.shape
    heaviest = np.empty((max(height - 1, 0), max(width - 1, 0)), np.uint8)
    for y in range(height - 1):
        for x in range(width - 1):
            top, left, right, bottom = weights[0, y, x], weights[1, y, x], weights[1, y, x + 1], weights[0, y + 1, x]
            side, last = max(left, right), max(top, left)
            if bottom >= max(top, side):
                heaviest[y, x] = 3
            elif right >= last:
                heaviest[y, x] = 2
            else:
                heaviest[y, x] = 1 if left >= top else 0
    for y in range(height - 1):
        here, top, bottom = heaviest[y], weights[0, y], weights[0, y + 1]
        left, right = weights[1, y], weights[1, y, 1:]
        for x in range(width - 1):
            top[x] = _NO_EDGE if here[x] == 0 else top[x]
        for x in range(width - 1):
            left[x] = _NO_EDGE if here[x] == 1 else left[x]
        for x in range(width - 1):
            right[x] = _NO_EDGE if here[x] == 2 else right[x]
        for x in range(width - 1):
            bottom[x] = _NO_EDGE if here[x] == 3 else bottom[x]
    return weights


@compiled
def sorted_edges(weights):  # type: ignore[no-untyped-def]
    """Return (edges int32 (E,), starts int32 (256,)); edges[starts[w]:starts[w + 1]] have weight w.

    weights: from `weigh`. These are all edges of the grid except the heaviest of each square of four pixels. Edge 2p
    joins pixel p (row-major) to its right neighbour, edge 2p + 1 to the one below. Edges of one weight are in raster
    order.
    """
    weights = _without_heaviest(weights)
    _, height, width = weights.shape
    pixels = height * width
    weights = weights.reshape(2, pixels)
    # There are two tables of counts, because a count that is not stored yet delays the next one.
    counts = np.zeros((2, 256), np.int32)
    for p in range(pixels):
        counts[0, weights[0, p]] += 1
        counts[1, weights[1, p]] += 1
    starts = np.zeros(256, np.int32)
    for weight in range(255):
        starts[weight + 1] = starts[weight] + counts[0, weight] + counts[1, weight]
    # Missing edges are written after the others; a test for each edge would take longer.
    edges = np.empty(2 * pixels, np.int32)
    place = starts.copy()
    for p in range(pixels):
        for down in range(2):
            weight = weights[down, p]
            edges[place[weight]] = 2 * p + down
            place[weight] += 1
    return edges[: starts[255]], starts


@compiled
def segment(edges, starts, height, width, k, min_size):  # type: ignore[no-untyped-def]
    """Return (labels int32 (H, W), number of regions) for sorted edges; labels are numbered in raster order.

    k: preference for larger regions, in grey levels; regions of fewer than `min_size` pixels are joined to the
    neighbour across their lightest edge.
    """
    pixels = height * width
    parent = np.arange(pixels).astype(np.int32)
    size = np.ones(pixels, np.int32)
    # The inner variation plus k / size of each root.
    limit = np.full(pixels, k, np.float32)
    refused = np.empty(len(edges), np.int32)
    count = 0
    for weight in range(255):
        w = np.float32(weight)
        for i in range(starts[weight], starts[weight + 1]):
            edge = edges[i]
            p = edge >> 1
            a = _find(parent, p)
            b = _find(parent, p + (width if edge & 1 else 1))
            if a == b:
                continue
            if w <= limit[a] and w <= limit[b]:
                if size[a] < size[b]:
                    a, b = b, a
                parent[b] = a
                size[a] += size[b]
                limit[a] = w + k / np.float32(size[a])
            else:
                refused[count] = edge
                count += 1
    for edge in refused[:count]:
        p = edge >> 1
        a = _find(parent, p)
        b = _find(parent, p + (width if edge & 1 else 1))
        if a != b and (size[a] < min_size or size[b] < min_size):
            if size[a] < size[b]:
                a, b = b, a
            parent[b] = a
            size[a] += size[b]
    labels = np.empty(pixels, np.int32)
    name = np.full(pixels, -1, np.int32)
    regions = 0
    for p in range(pixels):
        root = _find(parent, p)
        if name[root] < 0:
            name[root] = regions
            regions += 1
        labels[p] = name[root]
    return labels.reshape(height, width), regions


@compiled
def _distinct(first, second, weights, regions):  # type: ignore[no-untyped-def]
    """Return each pair of different labels once, smaller label first, with its lightest weight.

    first, second, weights: (B,), lightest first.
    """
    # Touching regions are a planar graph, which has fewer than three edges for each node.
    most = min(len(first), 3 * regions)
    bits = 8
    while 1 << bits < 2 * most:
        bits += 1
    table = np.full(1 << bits, -1, np.int64)
    pairs = np.empty((most, 2), np.int32)
    lightest = np.empty(most, np.uint8)
    count = 0
    for i in range(len(first)):
        a, b = min(first[i], second[i]), max(first[i], second[i])
        if a == b:
            continue
        key = np.int64(a) * regions + b
        # This is multiplicative hashing (Knuth); a collision takes the next free place.
        place = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits))
        while table[place] >= 0 and table[place] != key:
            place = (place + 1) & ((1 << bits) - 1)
        if table[place] < 0:
            table[place] = key
            pairs[count, 0], pairs[count, 1] = a, b
            lightest[count] = weights[i]
            count += 1
    return pairs[:count].copy(), lightest[:count].copy()


@compiled
def neighbours(labels, weights, regions):  # type: ignore[no-untyped-def]
    """Return (pairs int32 (P, 2), weights uint8 (P,)): regions that touch, and their lightest edge's weight.

    labels: int32 (H, W), of `regions` regions; weights: from `weigh`. Each pair occurs once, smaller label first; the
    lightest come first, then the order is the raster order of that edge.
    """
    height, width = labels.shape
    pixels = height * width
    flat = labels.reshape(pixels)
    # Every edge is written, but the count grows only for edges between regions; a branch would take three times as
    # long.
    crossing = np.empty(2 * pixels + 1, np.int32)
    count = 0
    for y in range(height):
        for x in range(width):
            p = y * width + x
            right, below = p + (x + 1 < width), p + width * (y + 1 < height)
            crossing[count] = 2 * p
            count += flat[p] != flat[right]
            crossing[count] = 2 * p + 1
            count += flat[p] != flat[below]
    across = weights.reshape(2, pixels)
    starts = np.zeros(257, np.int32)
    for edge in crossing[:count]:
        starts[across[edge & 1, edge >> 1] + 1] += 1
    for weight in range(256):
        starts[weight + 1] += starts[weight]
    first = np.empty(count, np.int32)
    second = np.empty(count, np.int32)
    sorted_weights = np.empty(count, np.uint8)
    for edge in crossing[:count]:
        p = edge >> 1
        weight = across[edge & 1, p]
        i = starts[weight]
        starts[weight] += 1
        first[i] = flat[p]
        second[i] = flat[p + (width if edge & 1 else 1)]
        sorted_weights[i] = weight
    return _distinct(first, second, sorted_weights, regions)


@compiled
def coarsen(pairs, weights, size, k):  # type: ignore[no-untyped-def]
    """Return (label of each region int32 (R,), number of labels), by the same algorithm on regions instead of pixels.

    pairs, weights: from `neighbours`, one edge for each pair; size: int32 (R,) in pixels. A region starts without inner
    variation, as a pixel does; otherwise the lightest of the many edges along each border would join nearly all
    regions. New labels are numbered in the order of the old ones.
    """
    count = len(size)
    parent = np.arange(count).astype(np.int32)
    sizes = size.copy()
    limit = np.empty(count, np.float32)
    for r in range(count):
        limit[r] = k / np.float32(sizes[r])
    for i in range(len(pairs)):
        a, b = _find(parent, pairs[i, 0]), _find(parent, pairs[i, 1])
        w = np.float32(weights[i])
        if a != b and w <= limit[a] and w <= limit[b]:
            a, b = min(a, b), max(a, b)
            parent[b] = a
            sizes[a] += sizes[b]
            limit[a] = w + k / np.float32(sizes[a])
    names = np.empty(count, np.int32)
    regions = 0
    for r in range(count):
        root = _find(parent, r)
        if root == r:
            names[r] = regions
            regions += 1
        else:
            names[r] = names[root]
    return names, regions


@compiled
def coarse_neighbours(pairs, weights, names, regions):  # type: ignore[no-untyped-def]
    """Return the neighbours of a coarser segmentation with `regions` regions.

    pairs, weights: the neighbours of the finer one; names: int32 (R,), the coarser region of each region.
    """
    first = np.empty(len(pairs), np.int32)
    second = np.empty(len(pairs), np.int32)
    for i in range(len(pairs)):
        first[i], second[i] = names[pairs[i, 0]], names[pairs[i, 1]]
    return _distinct(first, second, weights, regions)
