"""Histograms of detections."""

from __future__ import annotations

import numpy as np
import pytest

from detector.runtime.baseline import BINS, Histograms, first_whole_bin, tenths


def test_every_written_score_falls_into_the_tenth_that_its_decimals_say() -> None:
    """Scores are multiples of 1e-4, and .3 is a little less than three tenths in binary, or a little more."""
    steps = np.arange(10_001)
    assert (tenths(steps / 10_000) == np.minimum(steps // 1000, BINS - 1)).all()


def test_what_lies_outside_counts_in_the_nearest_bin() -> None:
    assert tenths(np.array([-0.2, 1.0, 1.5])).tolist() == [0, 9, 9]


@pytest.mark.parametrize(
    ("min_score", "bin"), [(0, 0), (0.0016, 1), (0.1, 1), (0.2897, 3), (0.3, 3), (0.9, 9), (1, 10)]
)
def test_the_first_bin_that_a_threshold_leaves_whole(min_score: float, bin: int) -> None:
    assert first_whole_bin(min_score) == bin


def test_batches_add_up_by_class_score_and_size() -> None:
    seen = Histograms(3)
    seen.add(np.array([0, 2, 2]), np.array([0.05, 0.95, 1.0]), np.array([0.04, 0.25, 1.0]))
    seen.add(np.array([2]), np.array([0.9]), np.array([0.3]))
    seen.add(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    assert seen.boxes.sum(axis=1).tolist() == [1, 0, 3]
    assert (seen.boxes[0, 0], seen.boxes[2, 9]) == (1, 3)
    assert (seen.sizes[0, 2], seen.sizes[9, 5], seen.sizes[9, 9], seen.sizes.sum()) == (1, 2, 1, 4)
