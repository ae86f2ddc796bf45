"""Stratified simple random sampling without replacement, from a stream of unknown length.

An item's rank is a hash of the seed and its key, and the items of a stratum with the lowest ranks are drawn (permanent
random numbers, Ohlsson 1995). So the draw does not depend on the order of the stream, and one pass is enough. Within a
stratum of N items every set of n is equally likely, and each item is drawn with probability n / N.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

# A variance can be estimated from two items, and not from one.
LEAST = 2


@dataclass(frozen=True)
class DrawnStratum(Generic[T]):
    """A stratum, the number of its items, and those that were drawn: what came with each, by its key."""

    name: str
    size: int
    drawn: dict[str, T]


def draw(
    items: Iterable[tuple[str, str, T]], count: int, seed: str, emphasis: Mapping[str, float]
) -> list[DrawnStratum[T]]:
    """Draw `count` items, or all if there are fewer. Each is a key, which no two share, the name of its stratum, and
    anything that comes with it.

    seed: one line of text. emphasis: how much more often than others the items of a stratum are drawn; 1 where it is
    not named. Returns every stratum, by name. Memory grows with `count` times the number of strata.
    """
    sizes: dict[str, int] = {}
    lowest: dict[str, list[tuple[int, str, T]]] = {}  # ranks are negative: the highest one is at the top of the heap
    for key, stratum, item in items:
        sizes[stratum] = sizes.get(stratum, 0) + 1
        heap = lowest.setdefault(stratum, [])
        entry = (-int.from_bytes(hashlib.sha256(f"{seed}\n{key}".encode()).digest()), key, item)
        if len(heap) < count:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
    return [
        DrawnStratum(name, sizes[name], {key: item for _, key, item in heapq.nlargest(share, lowest[name])})
        for name, share in sorted(allocate(sizes, count, emphasis).items())
    ]


def allocate(sizes: Mapping[str, int], count: int, emphasis: Mapping[str, float]) -> dict[str, int]:
    """How many items to draw from each stratum: in proportion to its size times its emphasis, by the method of
    Huntington and Hill (1928), and at least `LEAST`, or all of a smaller one.

    Where `count` is too small for that, the strata with the greatest products come first, and others get none.
    """
    shares = dict.fromkeys(sizes, 0)

    def turn(name: str) -> tuple[float, int, float, str]:
        share, product = shares[name], sizes[name] * emphasis.get(name, 1.0)
        due = math.inf if share < LEAST else product / math.sqrt(share * (share + 1))
        return -due, share, -product, name

    turns = [turn(name) for name in sizes]
    heapq.heapify(turns)
    for _ in range(min(count, sum(sizes.values()))):
        name = turns[0][-1]
        shares[name] += 1
        if shares[name] < sizes[name]:
            heapq.heapreplace(turns, turn(name))
        else:
            heapq.heappop(turns)
    return shares
