"""The draw of boxes: by label and on either side of the operating score, with the probabilities that it states."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from jobs.errors import UsageError
from jobs.formats import BoxRecord, Sample
from jobs.published_run import PublishedRun
from jobs.sampling import draw_boxes, draw_sample
from tests.jobs.sampling.listed import box, listed, small_run

__all__ = ["small_run"]


def _drawn(run: PublishedRun, count: int, *labels: str, seed: int = 0) -> Sample:
    return draw_boxes(run, draw_sample(run, 2, "random", seed), count, labels)


def _boxes(low: float) -> list[list[BoxRecord]]:
    """60 images: each has a cat, every third a dog, and every tenth two trees; a third of the scores is below .3."""
    return [
        [
            box("cat", (0.9, 0.5, low)[n % 3]),
            *([box("dog", 0.6)] * (n % 3 == 0)),
            *([box("tree", 0.8)] * 2 * (n % 10 == 0)),
        ]
        for n in range(60)
    ]


def test_strata_are_labels_where_the_run_begins_at_the_operating_score(small_run: Path) -> None:
    run = listed(small_run, _boxes(0.4), min_score=0.3)
    sample = _drawn(run, 46)
    assert {one.label: (one.boxes, one.drawn, one.low, one.high) for one in sample.box_strata} == {
        "cat": (60, 30, 0.3, None), "dog": (20, 10, 0.3, None), "tree": (12, 6, 0.3, None),
    }  # fmt: skip
    assert len(sample.boxes) == 46 == len({(drawn.image, drawn.number) for drawn in sample.boxes})
    there = {(record.image, number): one for record in run.records() for number, one in enumerate(record.boxes)}
    assert all(there[drawn.image, drawn.number] == drawn.box and drawn.probability == 0.5 for drawn in sample.boxes)
    # People see them in an order of chance: a label is not seen in a row.
    assert len({drawn.box.label for drawn in sample.boxes[:12]}) > 1
    assert _drawn(run, 46) == sample != _drawn(run, 46, seed=1)
    assert (sample.labels, sample.count, len(sample.images)) == (["cat", "dog", "tree"], 2, 2)


def test_boxes_below_the_operating_score_are_strata_of_their_own_and_drawn_less_often(small_run: Path) -> None:
    run = listed(small_run, _boxes(0.1), min_score=0.05)
    sample = _drawn(run, 30, "cat")
    upper, lower = sorted(sample.box_strata, key=lambda one: -one.low)
    assert (upper.low, upper.high, upper.boxes) == (0.3, None, 40) and (lower.low, lower.high) == (0.05, 0.3)
    assert upper.drawn / upper.boxes > 2 * lower.drawn / lower.boxes > 0
    assert {drawn.box.label for drawn in sample.boxes} == {"cat"}
    for drawn in sample.boxes:
        assert drawn.stratum == (upper if drawn.box.score >= 0.3 else lower).name


def test_every_box_of_a_stratum_is_equally_likely(small_run: Path) -> None:
    """300 seeds; a count may be off by 4.5 standard deviations."""
    run = listed(small_run, [[box("cat", 0.9)] * 3, [box("cat", 0.4)], [box("dog", 0.5)] * 2], min_score=0.3)
    seen, seeds = Counter[tuple[str, int]](), 300
    for seed in range(seeds):
        seen.update((drawn.image, drawn.number) for drawn in _drawn(run, 2, "cat", seed=seed).boxes)
    assert len(seen) == 4
    assert all(abs(count - seeds / 2) < 4.5 * math.sqrt(seeds / 4) for count in seen.values())


def test_labels_that_are_not_there_are_refused(small_run: Path) -> None:
    run = listed(small_run, _boxes(0.4), min_score=0.3)
    with pytest.raises(UsageError, match="--labels horse: not a label of this run; it has cat, dog, tree"):
        _drawn(run, 5, "cat", "horse")
    with pytest.raises(UsageError, match="no boxes of these labels to draw: dog"):
        _drawn(listed(small_run, [[box("cat", 0.9)]] * 3, min_score=0.3), 5, "dog")
