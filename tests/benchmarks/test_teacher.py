"""The table of `benchmarks.teacher`: each way beside the first one."""

from __future__ import annotations

import numpy as np

from benchmarks.teacher import Trial, Way, rows


def trial(ap: float, draws: np.ndarray) -> Trial:
    return Trial(10, 30, {"cat": ap, "dog": ap}, {"cat": ap / 2, "dog": ap / 2}, 2.4, np.stack([draws, draws]))


def test_a_gain_has_the_interval_of_the_paired_draws() -> None:
    draws = np.linspace(0.4, 0.6, 201)
    better = draws + np.linspace(0.08, 0.12, 201)
    found = {Way("without"): trial(0.5, draws), Way("same"): trial(0.5, draws), Way("better"): trial(0.6, better)}
    first, same, other = rows(found)
    assert first == ["without", "10", "30", "0.500", "", "0.250", "", "2"]
    assert same[4] == same[6] == "+0.000 to +0.000"
    assert other[3:5] == ["0.600", "+0.081 to +0.119"]
