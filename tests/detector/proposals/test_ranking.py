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


def plain_rank(boxes: list[tuple[int, ...]], levels: list[int]) -> list[int]:
    seen: set[tuple[int, ...]] = set()
    kinds: Counter[tuple[int, ...]] = Counter()
    priorities = []
    for i in sorted(range(len(boxes)), key=levels.__getitem__):
        if boxes[i] not in seen:
            seen.add(boxes[i])
            kinds[kind(boxes[i])] += 1
            priorities.append((levels[i] * kinds[kind(boxes[i])], i))
    return [i for _, i in sorted(priorities, key=lambda each: each[0])]


def found_rank(boxes: list[tuple[int, ...]], levels: list[int]) -> list[int]:
    ranked = rank(np.array(boxes, np.int32).reshape(-1, 4), np.array(levels, np.int32))
    assert ranked.dtype == np.int32
    return ranked.tolist()


@st.composite
def candidates(draw: st.DrawFn) -> tuple[list[tuple[int, ...]], list[int]]:
    """Boxes and levels, many of them equal or nearly so."""
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
    return boxes, levels


@settings(deadline=None, max_examples=200, derandomize=True)
@given(candidates())
def test_the_order_is_the_plain_one(given_: tuple[list[tuple[int, ...]], list[int]]) -> None:
    boxes, levels = given_
    ranked = found_rank(boxes, levels)
    assert ranked == plain_rank(boxes, levels)
    assert len({boxes[i] for i in ranked}) == len(ranked) == len(set(boxes))
    assert found_rank(boxes, levels) == ranked


@pytest.mark.parametrize("longest", [30, 400, 65535])
def test_the_order_of_many_is_the_plain_one(longest: int) -> None:
    random = np.random.default_rng(longest)
    ends = np.sort(random.integers(0, longest, (5000, 2, 2)), axis=1)
    ends[:, 1] += 1
    boxes = [tuple(box) for box in ends.reshape(-1, 4).tolist()]
    levels = random.integers(1, 900, len(boxes)).tolist()
    assert found_rank(boxes, levels) == plain_rank(boxes, levels)


def test_one_box() -> None:
    assert found_rank([(0, 0, 1, 1)], [1]) == [0]
    assert found_rank([(0, 0, 65535, 65535)], [9]) == [0]


def test_large_coordinates_are_told_apart() -> None:
    edges = [0, 1, 2, 255, 256, 32767, 32768, 65533, 65534]

    def ends(start: int) -> tuple[int, ...]:
        return start + 1, start + 2, start + 32769, 65535

    sides = sorted({(start, stop) for start in edges for stop in ends(start) if stop < 65536})
    different = [(x1, y1, x2, y2) for x1, x2 in sides for y1, y2 in sides]
    levels = [1] * len(different)
    ranked = found_rank(different, levels)
    assert sorted(ranked) == list(range(len(different)))
    assert ranked == plain_rank(different, levels)


def test_an_equal_box_counts_at_its_lowest_level() -> None:
    boxes = [(0, 0, 9, 9), (40, 0, 49, 9), (0, 0, 9, 9), (0, 0, 9, 9)]
    assert found_rank(boxes, [7, 5, 3, 3]) == [2, 1]
    assert found_rank(boxes, [7, 3, 5, 5]) == [1, 2]


def test_boxes_unlike_each_other_keep_the_order_of_their_levels() -> None:
    boxes = [(100 * i, 0, 100 * i + 20, 20) for i in range(50)]
    levels = np.random.default_rng(0).permutation(np.arange(50) // 2 + 1).tolist()
    assert found_rank(boxes, levels) == sorted(range(50), key=levels.__getitem__)


def near() -> list[tuple[int, ...]]:
    """Three boxes of one kind."""
    middle = 10.5 * _CELL * math.exp(round(math.log(1000) / _CELL) * _CELL)  # between two edges of the grid
    start = int(middle) - 500
    return [(start, start, start + 1000 + i, start + 1000 + i) for i in range(3)]


def test_a_box_like_n_before_it_stands_on_n_plus_one_times_its_level() -> None:
    others = [(0, 0, 30, 30), (0, 400, 10, 600), (500, 0, 900, 20), (0, 2000, 5, 2002)]
    # Levels of the like ones: 2, 2 * 3 and 3 * 4.
    assert found_rank([*near(), *others], [2, 3, 4, 5, 7, 11, 13]) == [0, 3, 1, 4, 5, 2, 6]


def test_near_equal_are_boxes_of_like_sides_and_centres_only() -> None:
    box, like, _ = near()
    x1, y1, x2, y2 = box
    # Shifted by its side across and down, twice as large, of another shape: of kinds of their own.
    others = [(x1 + 1000, y1, x2 + 1000, y2), (x1, y1 + 1000, x2, y2 + 1000), (x1 - 500, y1 - 500, x2 + 500, y2 + 500),
              (x1 + 250, y1 - 500, x2 - 250, y2 + 500)]  # fmt: skip
    assert found_rank([box, like, *others], [1] * 6) == [0, 2, 3, 4, 5, 1]
