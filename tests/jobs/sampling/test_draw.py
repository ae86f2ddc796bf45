"""The draw has the probabilities that it states, whatever the order of the stream."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import combinations

import pytest

from jobs.sampling.draw import LEAST, DrawnStratum, allocate, draw

HOSTILE = ("", " ", "\n", "a\nb", "写真/ü.png", "..", "0\n1", "\x00", "=1+1", "ü", "u\u0308")


def _drawn(found: list[DrawnStratum[int]]) -> dict[str, int]:
    return {key: item for stratum in found for key, item in stratum.drawn.items()}


def test_every_pair_of_a_stratum_is_equally_likely_and_strata_have_their_own_probability() -> None:
    """10,000 seeds; a count may be off by 4.5 standard deviations, which one of a million counts is by chance."""
    items = [(f"a{n}", "a", n) for n in range(5)] + [(f"b{n}", "b", n) for n in range(12)]
    seeds, pairs, singles = 10_000, Counter[tuple[str, ...]](), Counter[str]()
    for seed in range(seeds):
        found = draw(items, 6, str(seed), {})
        assert [(stratum.name, stratum.size, len(stratum.drawn)) for stratum in found] == [("a", 5, 2), ("b", 12, 4)]
        pairs[tuple(sorted(found[0].drawn))] += 1
        singles.update(found[1].drawn.keys())

    def near(count: int, probability: float) -> bool:
        return abs(count - seeds * probability) < 4.5 * math.sqrt(seeds * probability * (1 - probability))

    assert all(near(pairs[pair], 1 / 10) for pair in combinations((f"a{n}" for n in range(5)), 2))
    assert len(singles) == 12 and all(near(count, 4 / 12) for count in singles.values())


def test_the_order_of_the_stream_does_not_matter_and_the_seed_does() -> None:
    items = [(f"{n}", f"{n % 7}", n) for n in range(500)]
    expected = draw(items, 50, "1", {"3": 5.0})
    for order in range(5):
        shuffled = random.Random(order).sample(items, len(items))
        assert [(s.name, s.size, sorted(s.drawn)) for s in draw(shuffled, 50, "1", {"3": 5.0})] == [
            (s.name, s.size, sorted(s.drawn)) for s in expected
        ]
    assert _drawn(draw(items, 50, "2", {"3": 5.0})) != _drawn(expected)
    assert len(_drawn(expected)) == 50
    assert all(item == int(key) for key, item in _drawn(expected).items())


def test_hostile_keys_and_too_few_items() -> None:
    items = [(key, key[:1], number) for number, key in enumerate(HOSTILE)]
    assert _drawn(draw(items, 100, "0", {})) == {key: number for number, key in enumerate(HOSTILE)}
    assert len(_drawn(draw(items, 3, "0", {}))) == 3
    assert draw([], 10, "0", {}) == []


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ({"a": 100, "b": 300}, 40, {"a": 10, "b": 30}),
        ({"a": 1, "b": 3, "c": 996}, 100, {"a": 1, "b": 2, "c": 97}),  # all of a small one, and at least two
        ({"a": 10, "b": 30, "c": 20}, 2, {"a": 0, "b": 1, "c": 1}),  # fewer than strata: the largest
        ({"a": 10, "b": 30, "c": 20}, 4, {"a": 1, "b": 2, "c": 1}),  # one of each comes before the second of any
        ({"a": 3, "b": 4}, 9, {"a": 3, "b": 4}),
        ({}, 5, {}),
    ],
)
def test_shares(sizes: dict[str, int], count: int, expected: dict[str, int]) -> None:
    assert allocate(sizes, count, {}) == expected


def test_shares_add_up_are_nearly_proportional_and_follow_the_emphasis() -> None:
    dice = random.Random(1)
    for _ in range(200):
        sizes = {f"{n}": dice.randrange(1, 400) for n in range(dice.randrange(1, 9))}
        count = dice.randrange(1, 300)
        shares = allocate(sizes, count, {})
        total = sum(sizes.values())
        assert sum(shares.values()) == min(count, total)
        for name, size in sizes.items():
            assert shares[name] <= size
            if count >= LEAST * len(sizes):
                assert shares[name] >= min(LEAST, size)
        if all(size * count / total > LEAST for size in sizes.values()) and count <= total:
            assert all(abs(shares[name] - size * count / total) < 2 for name, size in sizes.items())
    shares = allocate({"near": 500, "far": 500}, 100, {"near": 4.0})
    assert shares == {"near": 80, "far": 20}
