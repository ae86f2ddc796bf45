"""Sorts candidates: first those that look most like objects, then large groups; both avoid boxes like earlier ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.proposals.compiled import compiled

# Similar boxes share a cell of a grid: their sides are within a factor of e^0.35, and their centres within 0.35 sides.
# With finer cells, boxes fit the objects slightly better (MABO); with coarser cells, more objects are found.
_CELL = 0.35
# So many of the first boxes are those that look most like objects. With more, the first 1,000 would be worse.
FIRST = 300
# Whole numbers, so that the order does not depend on the processor: natural logarithms in 1,024ths.
_UNIT = 1024
_USUAL_AREA = -1.5  # the logarithm of its part of the image


class Weights(NamedTuple):
    """What makes a box look less like an object, each times its weight.

    level: the logarithm of its level, which is low for large groups; repeats: minus the logarithm of how many groupings
    have made it; area: the square of how far the logarithm of its area is from that of a fifth of the image; middle:
    how far its centre is from middle height, as a part of the height; edge: how many of its sides lie on the image's;
    similar: the logarithm of n for the n-th of several similar boxes.
    """

    level: float
    repeats: float
    area: float
    middle: float
    edge: float
    similar: float


# Rounded from the best of a random search on photographs of VOC; `benchmarks.proposals.order` searches for better ones.
WEIGHTS = Weights(level=0.5, repeats=0.6, area=0.05, middle=1.3, edge=0.3, similar=1.5)


@compiled
def _slot(table, bits, key):  # type: ignore[no-untyped-def]
    """Return the place of `key` in a hash table, or the free place for it."""
    place = np.int64((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits))
    while table[place] != 0 and table[place] != key:
        place = (place + 1) & ((1 << bits) - 1)
    return place


@compiled
def _table_bits(count):  # type: ignore[no-untyped-def]
    bits = 8
    while 1 << bits < 2 * count:
        bits += 1
    return bits


@compiled
def _different(boxes, levels, cell):  # type: ignore[no-untyped-def]
    """Return (candidates int32 (M,), repeats int32 (M,), cells uint64 (M,)) of the M different boxes, by level.

    boxes: int32 (N, 4); levels: int32 (N,). repeats: the number of equal boxes; cells: equal for similar boxes.
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
    bits = _table_bits(count)
    known = np.zeros(1 << bits, np.uint64)
    numbers = np.zeros(1 << bits, np.int32)
    candidates = np.empty(count, np.int32)
    repeats = np.empty(count, np.int32)
    cells = np.empty(count, np.uint64)
    kept = 0
    for candidate in order:
        x1, y1, x2, y2 = boxes[candidate]
        # No key is 0, which marks free places: x2 and y2 are never 0, and 1 is added to the key of a cell.
        key = np.uint64((((x1 << 16) + y1 << 16) + x2 << 16) + y2)
        place = _slot(known, bits, key)
        if known[place] != 0:
            repeats[numbers[place]] += 1
            continue
        known[place], numbers[place] = key, kept
        across, down = steps[x2 - x1], steps[y2 - y1]
        column, line = np.int64((x1 + x2) / spacing[across]), np.int64((y1 + y2) / spacing[down])
        cells[kept] = np.uint64((((across << 8) + down << 20) + column << 20) + line + 1)
        candidates[kept], repeats[kept] = candidate, 1
        kept += 1
    return candidates[:kept], repeats[:kept], cells[:kept]


@compiled
def _turns(cells, order):  # type: ignore[no-untyped-def]
    """Return int64 (M,): of each box in `order`, its position among those of its cell, from 1 on."""
    bits = _table_bits(len(order))
    table = np.zeros(1 << bits, np.uint64)
    inside = np.zeros(1 << bits, np.int64)
    turns = np.empty(len(order), np.int64)
    for i in range(len(order)):
        place = _slot(table, bits, cells[order[i]])
        table[place] = cells[order[i]]
        inside[place] += 1
        turns[i] = inside[place]
    return turns


@compiled
def _strangeness(boxes, levels, repeats, logs, weights, height, width):  # type: ignore[no-untyped-def]
    """Return int64 (M,), lower for boxes that look more like an object; it may be negative.

    boxes: int32 (M, 4); levels, repeats: int32 (M,); logs: int64, logarithms of 0, 1, 2, ... in units; weights: int64
    (6,) in units, those of `Weights`; height, width: of the image.
    """
    level, repeat, area, middle, edge, _ = weights
    out = np.empty(len(boxes), np.int64)
    for i in range(len(boxes)):
        x1, y1, x2, y2 = boxes[i]
        share = logs[x2 - x1] + logs[y2 - y1] - logs[width] - logs[height] - np.int64(_USUAL_AREA * _UNIT)
        edges = np.int64(x1 == 0) + np.int64(y1 == 0) + np.int64(x2 == width) + np.int64(y2 == height)
        out[i] = (
            (level * logs[levels[i]] - repeat * logs[repeats[i]] + area * share * share // _UNIT) // _UNIT
            + middle * np.int64(abs(y1 + y2 - height)) // (2 * height)
            + edge * edges
        )
    return out


def _ascending(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices that sort `values`, below 2^31 in size; of equal ones the first comes first."""
    keys = (values << 32) + np.arange(len(values))
    keys.sort()  # no two are equal, so that any algorithm gives the same
    return keys & 0xFFFFFFFF


def rank(
    boxes: NDArray[np.int32],
    levels: NDArray[np.int32],
    height: int,
    width: int,
    weights: Weights = WEIGHTS,
    first: int = FIRST,
) -> NDArray[np.int64]:
    """Return the indices (M,) of the different boxes, M <= N, best first.

    boxes: (N, 4) xyxy inside the image, 0 <= x1 < x2 <= width < 65,536, and the same for y; levels: (N,) from 1 on, and
    a level times the number of similar boxes is below 2^31. Equal boxes are kept once, at their lowest level. The
    `first` ones look most like objects, by `weights`. The others follow by level, and the n-th of several similar boxes
    is sorted as if its level were n times as high.
    """
    candidates, repeats, cells = _different(boxes, levels, _CELL)
    boxes, levels = boxes[candidates], levels[candidates]
    by_level = _ascending(levels * _turns(cells, np.arange(len(candidates))))
    if first == 0:
        return candidates[by_level].astype(np.int64)
    longest = max(height, width, int(levels.max()), int(repeats.max()), len(candidates))
    logs = np.rint(_UNIT * np.log(np.maximum(np.arange(longest + 1), 1))).astype(np.int64)
    scaled = np.rint(_UNIT * np.array(weights)).astype(np.int64)
    strangeness = _strangeness(boxes, levels, repeats, logs, scaled, height, width)
    likely = _ascending(strangeness)
    prices = np.rint(weights.similar * logs).astype(np.int64)[_turns(cells, likely)]
    likely = likely[_ascending(strangeness[likely] + prices)[:first]]
    rest = np.ones(len(candidates), np.bool_)
    rest[likely] = False
    return candidates[np.concatenate([likely, by_level[rest[by_level]]])].astype(np.int64)
