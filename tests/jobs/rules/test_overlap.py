"""The rule about overlapping boxes agrees with the suppression that it checks."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.runtime.geometry.nms import nms
from jobs.rules.overlap import suppressible

# Sixteenths of a pixel, crowded so that many pairs lie near the threshold.
EDGE = st.integers(0, 400).map(lambda n: n / 16)
BOX = st.tuples(EDGE, EDGE, EDGE, EDGE).map(
    lambda edges: (edges[0], edges[1], edges[0] + edges[2] + 1, edges[1] + edges[3] + 1)
)
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), BOX), max_size=40)


def _columns(rows: list[tuple[int, int, tuple[float, ...]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = sorted(rows, key=lambda row: row[0])  # images one after the other, boxes in the order given
    images = np.array([row[0] for row in rows], np.int64)
    labels = np.array([row[1] for row in rows], np.int64)
    return images, labels, np.array([row[2] for row in rows], np.float32).reshape(-1, 4)


@settings(max_examples=150, deadline=None)
@given(ROWS, st.sampled_from([0.3, 0.4, 0.5, 0.7]))
def test_what_suppression_keeps_is_never_found_and_what_it_drops_always_is(rows: list, threshold: float) -> None:
    images, labels, boxes = _columns(rows)
    kept: list[int] = []
    for image in range(4):
        own = np.flatnonzero(images == image)
        scores = -np.arange(len(own), dtype=np.float64)  # the order given is that of the scores
        kept += own[nms(boxes[own], scores, labels[own], threshold)].tolist()
    kept.sort()
    found = suppressible(images, labels, boxes, threshold, most=100)
    assert set(np.flatnonzero(~found)) <= set(kept)  # what was dropped overlaps a better box
    assert not suppressible(images[kept], labels[kept], boxes[kept], threshold, most=100).any()


def test_no_boxes() -> None:
    none = np.zeros(0, np.int64)
    assert suppressible(none, none, np.zeros((0, 4), np.float32), 0.5, most=100).shape == (0,)


def test_boxes_that_lie_further_apart_in_the_list_than_an_image_may_have_are_not_compared() -> None:
    boxes = np.repeat(np.array([[0, 0, 10, 10]], np.float32), 300, axis=0)
    boxes[1:-1] += np.arange(1, 299, dtype=np.float32)[:, None] * 20  # only the first and the last lie together
    boxes[-1] = boxes[0]
    none = np.zeros(300, np.int64)
    assert suppressible(none, none, boxes, 0.5, most=300).sum() == 1
    assert suppressible(none, none, boxes, 0.5, most=100).sum() == 0
