"""Sorts candidates: large groups come first, and boxes that differ from the earlier ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.proposals.compiled import compiled

# Similar boxes share a cell of a grid: their sides are within a factor of e^0.35, and their centres within 0.35 sides.
# With finer cells, boxes fit the objects slightly better (MABO); with coarser cells, more objects are found.
_CELL = 0.35


@compiled
def _slot(table, bits, key):  # type: ignore[no-untyped-def]
    """Return the place of `key` in a hash table, or the free place for it."""
    place = np.int64((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits))
    while table[place] != 0 and table[place] != key:
        place = (place + 1) & ((1 << bits) - 1)
    return place


@compiled
def _priorities(boxes, levels, cell):  # type: ignore[no-untyped-def]
    """Return (candidates int32 (M,), priorities int64 (M,)) of the M different boxes.

    boxes: int32 (N, 4); levels: int32 (N,).
    """
    count = len(boxes)
    # A counting sort by level.
    places = np.zeros(levels.max() + 2, np.int32)
    for i in range(count):
        places[levels[i] + 1] += 1
    for level in range(len(places) - 1):
        places[level + 1] += places[level]
    order = np.empty(count, np.int32)
    for i in range(count):
        order[places[levels[i]]] = i
        places[levels[i]] += 1
    steps = np.rint(np.log(np.maximum(np.arange(boxes.max() + 1), 1)) / cell).astype(np.int64)
    spacing = np.empty(steps[len(steps) - 1] + 1, np.float64)
    for step in range(len(spacing)):
        spacing[step] = 2 * cell * np.exp(step * cell)
    bits = 8
    while 1 << bits < 2 * count:
        bits += 1
    known = np.zeros(1 << bits, np.uint64)
    cells = np.zeros(1 << bits, np.uint64)
    inside = np.zeros(1 << bits, np.int32)
    candidates = np.empty(count, np.int32)
    priorities = np.empty(count, np.int64)
    kept = 0
    for candidate in order:
        x1, y1, x2, y2 = boxes[candidate]
        # No key is 0, which marks free places: x2 and y2 are never 0, and 1 is added to the key of a cell.
        key = np.uint64((((x1 << 16) + y1 << 16) + x2 << 16) + y2)
        place = _slot(known, bits, key)
        if known[place] != 0:
            continue
        known[place] = key
        across, down = steps[x2 - x1], steps[y2 - y1]
        column, line = np.int64((x1 + x2) / spacing[across]), np.int64((y1 + y2) / spacing[down])
        place = _slot(cells, bits, np.uint64((((across << 8) + down << 20) + column << 20) + line + 1))
        cells[place] = np.uint64((((across << 8) + down << 20) + column << 20) + line + 1)
        inside[place] += 1
        candidates[kept] = candidate
        priorities[kept] = np.int64(levels[candidate]) * inside[place]
        kept += 1
    return candidates[:kept], priorities[:kept]


def rank(boxes: NDArray[np.int32], levels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the indices (M,) of the different boxes, M <= N, best first.

    boxes: (N, 4) xyxy with 0 <= x1 < x2 < 65,536, and the same for y; levels: (N,) from 1 on. Equal boxes are kept
    once, at their lowest level. The n-th of several similar boxes is sorted as if its level were n times as high.
    """
    candidates, priorities = _priorities(boxes, levels, _CELL)
    ranked: NDArray[np.int32] = candidates[np.argsort(priorities, kind="stable")]
    return ranked
