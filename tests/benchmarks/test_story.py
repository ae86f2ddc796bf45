"""The points of `benchmarks.story`, from the content of table.json."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.story import members

COST: dict[str, Any] = {
    "title": "Fast R-CNN", "proposal_seconds": 0.01, "network_seconds": 0.1, "postprocess_seconds": 0.002,
    "training_seconds": 90.0, "fitting_seconds": 30.0, "map_50": 0.5, "map_50_interval": [0.45, 0.55],
}  # fmt: skip


def test_a_member_has_its_whole_times() -> None:
    faster = COST | {"title": "Faster R-CNN", "proposal_seconds": None}
    fast, other = members({"members": {"fast_rcnn": COST, "faster_rcnn": faster}})
    assert (fast.title, fast.minutes, fast.map_50, fast.bounds) == ("Fast R-CNN", 2.0, 0.5, (0.45, 0.55))
    assert fast.milliseconds == pytest.approx(112.0)
    assert other.milliseconds == pytest.approx(102.0)


def test_a_member_without_figures_is_left_out() -> None:
    assert members({"members": {"x": COST | {"map_50": None, "map_50_interval": [None, None]}}}) == []
