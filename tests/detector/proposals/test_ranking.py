import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.proposals.ranking import _CELL, rank


def kind(box: tuple[int, ...]) -> tuple[int, ...]:
    """Near-equal boxes have one kind: sides to a factor of e^_CELL, centres to _CELL of those sides."""
    x1, y1, x2, y2 = box
    across, down = round(math.log(x2 - x1) / _CELL), round(math.log(y2 - y1) / _CELL)
    width, height = math.exp(_CELL * across), math.exp(_CELL * down)
    return across, down, int((x1 + x2) / 2 / (_CELL * width)), int((y1 + y2) / 2 / (_CELL * height))


def plain_rank(boxes: list[tuple[int, ...]], levels: list[int], height: int, width: int) -> list[int]:
    """The documented order in plain words, with the weights of the module."""

    def log(value: int) -> int:
        return round(1024 * math.log(max(value, 1)))

    repeats = Counter(boxes)
    different: dict[tuple[int, ...], int] = {}
    for i in sorted(range(len(boxes)), key=levels.__getitem__):
        different.setdefault(boxes[i], i)
    strangeness = {}
    for box, i in different.items():
        x1, y1, x2, y2 = box
        share = log(x2 - x1) + log(y2 - y1) - log(width) - log(height) + 1536
        edges = [x1 == 0, y1 == 0, x2 == width, y2 == height].count(True)
        strangeness[i] = (
            (512 * log(levels[i]) - 614 * log(repeats[box]) + 51 * share * share // 1024) // 1024
            + 1331 * abs(y1 + y2 - height) // (2 * height)
            + 307 * edges
        )

    def nth(order: list[int]) -> dict[int, int]:
        kinds: Counter[tuple[int, ...]] = Counter()
        turns = {}
        for i in order:
            kinds[kind(boxes[i])] += 1
            turns[i] = kinds[kind(boxes[i])]
        return turns

    by_level = list(different.values())
    likely = sorted(by_level, key=strangeness.__getitem__)
    turns = nth(likely)
    first = sorted(likely, key=lambda i: strangeness[i] + round(1.5 * log(turns[i])))[:300]
    turns = nth(by_level)
    rest = sorted(by_level, key=lambda i: levels[i] * turns[i])
    return [*first, *(i for i in rest if i not in set(first))]


def found_rank(boxes: list[tuple[int, ...]], levels: list[int], height: int, width: int) -> list[int]:
    ranked = rank(np.array(boxes, np.int32).reshape(-1, 4), np.array(levels, np.int32), height, width)
    assert ranked.dtype == np.int64
    return ranked.tolist()


@st.composite
def candidates(draw: st.DrawFn) -> tuple[list[tuple[int, ...]], list[int], int]:
    """Boxes and levels, many of them equal or nearly so, and the side of their square image."""
    longest = draw(st.sampled_from([1, 2, 5, 40, 700, 65535]))

    def side() -> st.SearchStrategy[tuple[int, int]]:
        return st.tuples(st.integers(0, longest - 1), st.integers(1, longest)).map(
            lambda pair: (min(pair[0], pair[1] - 1), max(pair[0] + 1, pair[1]))
        )

    box = st.tuples(side(), side()).map(lambda sides: (sides[0][0], sides[1][0], sides[0][1], sides[1][1]))
    boxes = draw(st.lists(box, min_size=1, max_size=30))
    boxes += [boxes[i % len(boxes)] for i in draw(st.lists(st.integers(0, 99), max_size=10))]
    highest = draw(st.sampled_from([1, 3, 50, 10**5]))
    levels = draw(st.lists(st.integers(1, highest), min_size=len(boxes), max_size=len(boxes)))
    return boxes, levels, longest


@settings(deadline=None, max_examples=200, derandomize=True)
@given(candidates())
def test_the_order_is_the_plain_one(given_: tuple[list[tuple[int, ...]], list[int], int]) -> None:
    boxes, levels, side = given_
    ranked = found_rank(boxes, levels, side, side)
    assert ranked == plain_rank(boxes, levels, side, side)
    assert len({boxes[i] for i in ranked}) == len(ranked) == len(set(boxes))
    assert found_rank(boxes, levels, side, side) == ranked


@pytest.mark.parametrize("longest", [30, 400, 65535])
def test_the_order_of_many_is_the_plain_one(longest: int) -> None:
    random = np.random.default_rng(longest)
    ends = np.sort(random.integers(0, longest, (5000, 2, 2)), axis=1)
    ends[:, 1] += 1  # inside the image: `longest` is never drawn
    boxes = [tuple(box) for box in ends.reshape(-1, 4).tolist()]
    levels = random.integers(1, 900, len(boxes)).tolist()
    assert found_rank(boxes, levels, longest, longest) == plain_rank(boxes, levels, longest, longest)


def test_one_box() -> None:
    assert found_rank([(0, 0, 1, 1)], [1], 1, 1) == [0]
    assert found_rank([(0, 0, 65535, 65535)], [9], 65535, 65535) == [0]


def test_large_coordinates_are_told_apart() -> None:
    edges = [0, 1, 2, 255, 256, 32767, 32768, 65533, 65534]

    def ends(start: int) -> tuple[int, ...]:
        return start + 1, start + 2, start + 32769, 65535

    sides = sorted({(start, stop) for start in edges for stop in ends(start) if stop < 65536})
    different = [(x1, y1, x2, y2) for x1, x2 in sides for y1, y2 in sides]
    levels = [1] * len(different)
    ranked = found_rank(different, levels, 65535, 65535)
    assert sorted(ranked) == list(range(len(different)))
    assert ranked == plain_rank(different, levels, 65535, 65535)


def test_an_equal_box_counts_at_its_lowest_level() -> None:
    boxes = [(0, 0, 9, 9), (40, 0, 49, 9), (0, 0, 9, 9), (0, 0, 9, 9)]
    assert sorted(found_rank(boxes, [7, 5, 3, 3], 90, 90)) == [1, 2]
    assert sorted(found_rank(boxes, [7, 3, 5, 5], 90, 90)) == [1, 2]


# Boxes of one size at one height inside a wide image, far from each other.
ROW = [(100 * i + 1, 40, 100 * i + 21, 60) for i in range(50)]


def test_boxes_unlike_each_other_keep_the_order_of_their_levels() -> None:
    levels = np.random.default_rng(0).permutation(np.arange(50) // 2 + 1).tolist()
    assert found_rank(ROW, levels, 100, 6000) == sorted(range(50), key=levels.__getitem__)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ([ROW[0], ROW[0]], [ROW[1]]),  # made by two groupings
        ([(1, 10, 41, 90)], [(1, 49, 3, 51)]),  # a fifth of the image, not a speck
        ([(1, 40, 21, 60)], [(1, 75, 21, 95)]),  # at middle height
        ([(1, 40, 21, 60)], [(0, 40, 20, 60)]),  # not cut off
    ],
)
def test_what_looks_like_an_object_comes_first(better: list[tuple[int, ...]], worse: list[tuple[int, ...]]) -> None:
    levels = [5] * (len(better) + len(worse))
    assert found_rank([*better, *worse], levels, 100, 200)[0] == 0
    assert found_rank([*worse, *better], levels, 100, 200)[0] == len(worse)


def test_after_the_first_three_hundred_the_level_alone_decides() -> None:
    objects = [(20 * i + 1, 40, 20 * i + 11, 60) for i in range(300)]
    specks = [(20 * i + 5, 0, 20 * i + 6, 1) for i in range(20)]
    levels = [1] * 300 + list(range(40, 20, -1))
    ranked = found_rank([*objects, *specks], levels, 100, 6100)
    assert sorted(ranked[:300]) == list(range(300)) and ranked[300:] == list(range(319, 299, -1))


def test_a_box_like_others_before_it_comes_after_unlike_ones() -> None:
    middle = 10.5 * _CELL * math.exp(round(math.log(1000) / _CELL) * _CELL)  # between two edges of the grid
    start = int(middle) - 500
    near = [(start + i, 4000, start + 1000 + i, 5000) for i in range(3)]
    unlike = [(start + 1500 * i, 4000, start + 1500 * i + 1000, 5000) for i in (1, 2)]
    assert found_rank([*near, *unlike], [3] * 5, 9000, 20000) == [0, 3, 4, 1, 2]
