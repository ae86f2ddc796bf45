"""A run beside its artifact's baseline: only what both counted is compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.runtime.artifact import Artifact, Baseline, load_artifact
from jobs.report.charts import LABEL_ROWS, make_charts
from tests.jobs.report.test_samples import box, counted, record

RECORDS = [
    record("a.jpg", box("cat", 0.95, 50, 50), box("cat", 0.25)),
    record("b.jpg", box("dog", 0.55, 20, 20)),
    record("c.jpg", status="missing", width=None),
]


def _counts(**scores: int) -> list[int]:
    return [scores.get(f"s{number}", 0) for number in range(10)]


@pytest.fixture
def measured(artifact: Path) -> Artifact:
    """An artifact that found 4 cats and 4 trees on 4 test images, and many boxes with hardly any score."""
    baseline = Baseline(
        images=4,
        boxes={"cat": _counts(s0=90, s9=4), "dog": _counts(), "tree": _counts(s3=4)},
        sizes=[_counts(s0=90) if row == 0 else _counts(s5=4) if row in (3, 9) else _counts() for row in range(10)],
    )
    return load_artifact(artifact).model_copy(update={"baseline": baseline})


def test_rates_are_of_the_bins_that_both_fill_whole(measured: Artifact) -> None:
    charts = make_charts(counted(RECORDS), measured, min_score=0.21)
    assert (charts.compared, charts.least, charts.counted, charts.left_out) == (True, 0.3, 2, 1)
    rows = {row.name: row.texts for row in charts.labels}
    assert rows["cat"] == ("2", "50.0", "100.0")  # two boxes, one of them in 2 images that could be read counts
    assert rows["tree"] == ("0", "0.0", "100.0") and rows["dog"] == ("1", "50.0", "0.0")
    scores = {column.name: (column.text, column.mark_text) for column in charts.scores.columns}
    assert scores["0.9 to 1"] == ("50.0", "50.0") and scores["0.3 to 0.4"] == ("0.0", "50.0") and len(scores) == 7
    sizes = {column.name: (column.text, column.mark_text) for column in charts.sizes.columns}
    assert sizes["0.5 to 0.6"] == ("50.0", "100.0") and sizes["0.2 to 0.3"] == ("50.0", "0.0")


def test_without_a_baseline_all_boxes_count(artifact: Path) -> None:
    charts = make_charts(counted(RECORDS), load_artifact(artifact), min_score=0.21)
    assert (charts.compared, charts.counted, charts.left_out) == (False, 3, 0)
    assert [row.texts for row in charts.labels if row.name == "cat"] == [("2", "100.0")]
    assert all(column.mark is None for column in charts.scores.columns)


def test_a_run_with_tiles_is_not_compared(measured: Artifact) -> None:
    assert make_charts(counted(RECORDS), measured, min_score=0.21).compared
    assert not make_charts(counted(RECORDS), measured, min_score=0.21, tiled=True).compared


def test_of_scores_so_high_the_baseline_says_nothing(measured: Artifact) -> None:
    assert not make_charts(counted(RECORDS), measured, min_score=0.95).compared


def test_an_empty_run_has_charts(measured: Artifact) -> None:
    charts = make_charts(counted([]), measured, min_score=0.3)
    assert {row.texts for row in charts.failures} == {("0", "–")}
    assert {column.text for column in charts.scores.columns} == {"0.0"}


def test_failures_are_listed_with_statuses_that_nobody_knows(measured: Artifact) -> None:
    charts = make_charts(counted([*RECORDS, record("d.jpg", status="lost")]), measured, min_score=0.3)
    assert {row.name: row.texts for row in charts.failures}["lost"] == ("1", "25.00 %")


def test_a_long_table_ends_with_the_rest(measured: Artifact) -> None:
    classes = tuple(f"label{number:03d}" for number in range(LABEL_ROWS + 5))
    records = [record(f"{label}.jpg", box(label, 0.9)) for label in classes]
    artifact = measured.model_copy(update={"classes": classes})
    rows = make_charts(counted(records, classes=classes), artifact, min_score=0.3).labels
    assert len(rows) == LABEL_ROWS + 1 and rows[-1].name == "5 other labels" and rows[-1].texts[0] == "5"
