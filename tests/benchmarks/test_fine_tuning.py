"""The table of `benchmarks.fine_tuning`."""

from __future__ import annotations

from benchmarks.fine_tuning import Trial, Way, rows


def test_a_row_has_means_and_bounds_and_a_dash_for_what_was_not_measured() -> None:
    trials = [Trial(0.4, 0.2, float("nan"), 4.0), Trial(0.6, 0.3, float("nan"), 5.0)]
    (row,) = rows({Way("one", {}, {}): trials})
    assert row == ["one", "0.500 (0.400 to 0.600)", "0.250 (0.200 to 0.300)", "–", "4.5"]
