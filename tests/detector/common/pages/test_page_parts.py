"""Thumbnails, figures and charts: the numbers that templates draw with."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detector.common.pages import Box, Figure, columns, curve, drawn_first, rows, thumbnail


def _decoded(uri: str) -> Image.Image:
    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def _noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("budget", [60_000, 12_000, 4_000])
def test_a_thumbnail_keeps_its_budget_and_the_shape_of_its_image(budget: int) -> None:
    uri = thumbnail(_noise(900, 600), budget)
    width, height = _decoded(uri).size
    assert len(uri) <= budget and width <= 480 and abs(width - 1.5 * height) <= 2


def test_a_small_image_is_not_enlarged_and_a_line_keeps_its_pixel() -> None:
    assert _decoded(thumbnail(_noise(40, 20), 10_000)).size == (40, 20)
    assert _decoded(thumbnail(_noise(3000, 1), 60_000)).size == (480, 1)


def test_a_budget_that_cannot_be_kept_gives_the_smallest_step() -> None:
    assert max(_decoded(thumbnail(_noise(900, 600), 1)).size) == 96


def _figure(boxes: list[Box], width: int | None = 400, height: int | None = 300) -> Figure:
    return Figure("picture-1", "s3://photos/a/b.jpg", width, height, None, "gone", boxes, [], [])


sides = st.floats(-50, 500)


@given(sides, sides, st.floats(0, 400), st.floats(0, 300), st.text(max_size=20))
def test_a_text_stands_inside_its_image(x: float, y: float, width: float, height: float, label: str) -> None:
    box = Box(label, 0, 0.5, x, y, width, height)
    figure = _figure([box])
    left, _, anchor = figure.place(box)
    assert anchor in ("start", "end") and left <= 500 and (anchor == "end" or left >= 0)


def test_a_text_that_has_no_room_above_its_box_stands_in_it() -> None:
    top, low = Box("cat", 0, 0.5, 10, 0, 50, 50), Box("cat", 0, 0.5, 10, 200, 50, 50)
    figure = _figure([top, low])
    assert figure.place(top)[1] > 0 and figure.place(low)[1] < 200


def test_texts_wait_for_the_larger_view_where_they_would_hide_the_image() -> None:
    box, marked = Box("cat", 0, 0.5, 0, 0, 5, 5), Box("cat", 0, 0.5, 0, 0, 5, 5, marked=True)
    assert not _figure([box] * 3).crowded and _figure([box] * 4).crowded
    assert not _figure([marked]).crowded and _figure([box, marked]).crowded


def test_a_figure_of_unknown_size_has_a_frame() -> None:
    figure = _figure([], None, None)
    assert figure.frame == (4, 3) and figure.spoken == "no boxes" and figure.short == "b.jpg"


def test_the_best_boxes_are_drawn_last_and_the_marked_one_on_top() -> None:
    low, high = Box("cat", 0, 0.2, 0, 0, 1, 1), Box("cat", 0, 0.9, 0, 0, 1, 1)
    truth, marked = Box("cat", 0, None, 0, 0, 1, 1, kind="truth"), Box("cat", 0, 0.1, 0, 0, 1, 1, marked=True)
    assert drawn_first([marked, high, truth, low]) == [low, high, truth, marked]


def test_a_label_has_one_colour() -> None:
    assert Box("cat", 3, 0.5, 0, 0, 1, 1).colour == Box("cat", 3, 0.9, 5, 5, 1, 1).colour == "c3"


def test_the_longest_bar_or_mark_is_whole() -> None:
    made = rows(["a", "b"], [1, 4], [8, 0], [("1",), ("4",)])
    assert [(row.length, row.mark) for row in made] == [(12.5, 100.0), (50.0, 0.0)]
    assert [row.length for row in rows(["a"], [0.5], None, [()], top=1.0)] == [50.0]
    assert [(row.length, row.mark) for row in rows(["a"], [0], None, [()])] == [(0.0, None)]


def test_columns_stand_on_their_line_side_by_side() -> None:
    chart = columns([0, 0.1, 0.2], [0.25, 0.75], None)
    first, second = chart.columns
    assert second.height == pytest.approx(3 * first.height, abs=0.05)
    assert first.y + first.height == pytest.approx(second.y + second.height) == pytest.approx(160)
    assert first.x + first.width < second.x and (first.text, first.name, first.mark) == ("25.0", "0 to 0.1", None)
    assert [text for _, text in chart.ticks] == ["0", "0.1", "0.2"]
    assert columns([0, 1], [0.0], [0.0]).columns[0].height == 0


def test_a_curve_runs_upwards_and_nothing_has_no_path() -> None:
    made = curve("cat", [(0, 1), (0.5, 0.25)], ())
    assert made.line == "M0.0 0.0 50.0 75.0" and made.area.endswith("50.0 100Z")
    assert curve("cat", [], ()).line == ""
