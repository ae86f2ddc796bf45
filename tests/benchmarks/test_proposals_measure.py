from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from benchmarks.proposals.measure import Row, Run, Speed, evenly_spread, interleave, quality, relative_speed, table
from benchmarks.proposals.tools import Tool
from detector.data.annotations import CocoDataset
from detector.runtime.geometry.boxes import Boxes, empty
from tests.support.datasets import image_info


def boxes(*rows: tuple[float, ...]) -> Boxes:
    return np.array(rows, np.float32).reshape(-1, 4)


def dataset(*truths: Boxes) -> CocoDataset:
    """One image of 100x100 pixels for each array of truths, all of class 0."""
    images = tuple(image_info(number, found, size=(100, 100)) for number, found in enumerate(truths, start=1))
    return CocoDataset(("thing",), images)


@pytest.mark.parametrize(
    ("count", "limit", "expected"),
    [(10, 5, [0, 2, 4, 6, 8]), (10, 3, [0, 3, 6]), (3, 3, [0, 1, 2]), (3, 50, [0, 1, 2]), (7, 1, [0]), (0, 5, [])],
)
def test_a_sample_is_spread_over_the_list(count: int, limit: int, expected: list[int]) -> None:
    assert list(evenly_spread(range(count), limit)) == expected


class Clock:
    """Seconds that only the tools make pass."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[str, str, int]] = []

    def __call__(self) -> float:
        return self.now

    def tool(self, name: str, seconds: float) -> Tool:
        def step(what: str, cost: float) -> Callable:
            def take(value):  # the image's number stands for its pixels all the way
                self.now += cost
                self.calls.append((name, what, value))
                return value

            return take

        search = step("search", seconds)
        return Tool(
            title=name,
            version="1",
            prepare=step("prepare", 100.0),
            search=search,
            boxes=lambda value: (step("boxes", 1000.0)(value), boxes((0, 0, value, value)))[1],
        )


def test_only_the_search_is_timed_and_the_first_call_is_not() -> None:
    clock = Clock()
    runs = interleave({"a": clock.tool("a", 1.0), "b": clock.tool("b", 3.0)}, [(7, 1), (8, 2)], clock)
    assert runs["a"].seconds == {7: 1.0, 8: 1.0}
    assert runs["b"].seconds == {7: 3.0, 8: 3.0}
    assert runs["b"].boxes[8].tolist() == [[0, 0, 2, 2]]
    searched = [call for call in clock.calls if call[1] == "search"]
    assert len(searched) == 2 + 4
    assert searched[:2] == [("a", "search", 1), ("b", "search", 1)]


def test_tools_search_in_an_order_of_chance_which_is_the_same_in_every_run() -> None:
    def searched() -> list[str]:
        clock = Clock()
        interleave({name: clock.tool(name, 1.0) for name in "abc"}, [(id, id) for id in range(1, 201)], clock)
        names = [name for name, what, _ in clock.calls if what == "search"]
        return ["".join(names[i : i + 3]) for i in range(3, len(names), 3)]

    orders = searched()
    assert orders == searched() and len(orders) == 200
    counts = Counter(orders)
    assert set(counts) == {"abc", "acb", "bac", "bca", "cab", "cba"} and min(counts.values()) > 15


def test_images_are_decoded_one_at_a_time() -> None:
    clock = Clock()

    def images() -> Iterator[tuple[int, int]]:
        for number in (1, 2):
            yield number, number
            # Nobody asks for the next image before all tools are done with this one.
            assert [call[2] for call in clock.calls if call[1] == "boxes"].count(number) == 2

    interleave({"a": clock.tool("a", 1.0), "b": clock.tool("b", 1.0)}, images(), clock)


def test_no_images_are_no_runs() -> None:
    assert interleave({"a": Clock().tool("a", 1.0)}, []) == {"a": Run()}


def test_speed_is_compared_image_by_image() -> None:
    other = Run(seconds={id: float(id) for id in range(1, 12)})
    run = Run(seconds={id: 0.5 if id > 1 else 1.0 for id in range(11, 0, -1)})
    # Ratios 1, 4, 6, ..., 22: by image and not by place in the list.
    assert relative_speed(run, other) == Speed(median=12.0, tenth=4.0)


def test_quality_at_the_budgets_and_with_all_boxes() -> None:
    truth = dataset(boxes((0, 0, 100, 50)), boxes((0, 0, 50, 100)))
    many = np.tile(boxes((0, 0, 1, 1)), (2500, 1))
    many[1500] = (0, 0, 100, 30)
    many[2400] = (0, 0, 100, 50)
    curve = quality(truth, {1: many, 2: boxes((0, 0, 50, 80))})
    assert curve.budgets[0] == 1 and curve.budgets[-1] == 2500 and curve.budgets == sorted(set(curve.budgets))
    assert curve.at(1000) == pytest.approx((0.4001, 0.5, 0.5), abs=1e-4)
    assert curve.at(2000) == pytest.approx((0.7, 1.0, 0.5))
    assert curve.at(None) == pytest.approx((0.9, 1.0, 1.0))
    # The second image has one box however many are allowed.
    assert curve.boxes[curve.budgets.index(1000)] == 500.5 and curve.boxes[-1] == 1250.5


def test_a_tool_of_few_boxes_has_the_table_s_budgets_too() -> None:
    curve = quality(dataset(boxes((0, 0, 10, 10))), {1: boxes((0, 0, 10, 10))})
    assert curve.budgets == [1000, 2000] and curve.boxes == [1.0, 1.0]
    assert curve.at(1000) == curve.at(None) == (1.0, 1.0, 1.0)
    assert quality(dataset(boxes((0, 0, 10, 10))), {1: empty()}).at(None) == (0.0, 0.0, 0.0)


def test_the_table_is_markdown() -> None:
    truth = dataset(boxes((0, 0, 100, 50)))
    run = Run(seconds={1: 0.0123}, boxes={1: boxes((0, 0, 100, 40))})
    curve = quality(truth, run.boxes)
    rows = [Row("Boxcar fast", [1], curve, "0.1", run, Speed(14.127, 11.0)), Row("random boxes", [10000], curve)]
    head, rule, ours, random = table(rows, "OpenCV fast")
    assert "OpenCV fast" in head and "1,000 / 2,000 / all" in head
    assert rule == "| --- | --- | --- | --- | --- | --- | --- |"
    figures = ".800 / .800 / .800 | 1.000 / 1.000 / 1.000 | 1.000 / 1.000 / 1.000 |"
    assert ours == "| Boxcar fast | 12.3 | 14.13 (11.00) | 1 | " + figures
    assert random == "| random boxes | – | – | 10,000 | " + figures
