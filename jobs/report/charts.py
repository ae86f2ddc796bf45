"""The charts of a report: a run's boxes beside those that the artifact found on its own test images.

Both are counted by the same code (detector/runtime/baseline.py). Only those bins of scores are compared that lie above
both score thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.common.pages import Columns, Row, columns, rows
from detector.runtime.artifact import Artifact
from detector.runtime.baseline import BINS, Histograms, first_whole_bin
from jobs.formats import FAILURES
from jobs.tally import Tally

# Nobody reads a longer table; further labels become one row.
LABEL_ROWS = 40


@dataclass(frozen=True)
class Charts:
    """The charts of one report.

    labels, failures: tables with bars; scores, sizes: histograms.
    least: the lowest score of the boxes that are counted in rates and histograms; compared: whether there is a
    baseline, of `baseline_images` images; left_out: boxes with lower scores.
    """

    labels: list[Row]
    failures: list[Row]
    scores: Columns
    sizes: Columns
    least: float
    compared: bool
    baseline_images: int
    counted: int
    left_out: int


def make_charts(tally: Tally, artifact: Artifact, min_score: float, *, tiled: bool = False) -> Charts:
    """The charts of a run with this tally; min_score: the run's; tiled: whether it looked at tiles as well, and so is
    not compared with the artifact's baseline."""
    baseline = None if tiled else _baseline(artifact)
    first = first_whole_bin(max(min_score, artifact.least_score))
    if baseline is None or first == BINS:  # there is nothing to compare with, so all boxes count
        baseline, first = None, 0
    mine = tally.histograms
    counted = int(mine.boxes[:, first:].sum())
    images = tally.statuses["ok"]
    edges = [index / BINS for index in range(BINS + 1)]
    tested = artifact.baseline.images if artifact.baseline else 0
    return Charts(
        labels=_label_rows(tally, first, images, baseline, tested),
        failures=_failure_rows(tally),
        scores=columns(
            edges[first:],
            _shares(mine.boxes[:, first:].sum(axis=0)),
            None if baseline is None else _shares(baseline.boxes[:, first:].sum(axis=0)),
        ),
        sizes=columns(
            edges,
            _shares(mine.sizes[first:].sum(axis=0)),
            None if baseline is None else _shares(baseline.sizes[first:].sum(axis=0)),
        ),
        least=first / BINS if first else min_score,
        compared=baseline is not None,
        baseline_images=tested,
        counted=counted,
        left_out=int(mine.boxes.sum()) - counted,
    )


def _baseline(artifact: Artifact) -> Histograms | None:
    if artifact.baseline is None or not artifact.baseline.images:
        return None
    counted = Histograms(len(artifact.classes))
    counted.boxes += np.array([artifact.baseline.boxes.get(label, [0] * BINS) for label in artifact.classes], np.int64)
    counted.sizes += np.array(artifact.baseline.sizes, np.int64)
    return counted


def _shares(counts: NDArray[np.int64]) -> list[float]:
    """(N,) counts -> (N,) shares of their sum; zeros if the sum is 0."""
    total = int(counts.sum())
    return [float(count) / total if total else 0.0 for count in counts]


def _label_rows(tally: Tally, first: int, images: int, baseline: Histograms | None, baseline_images: int) -> list[Row]:
    """One row a label, the most frequent first; a rate is boxes per 100 images."""
    mine = 100 * tally.histograms.boxes[:, first:].sum(axis=1) / max(1, images)  # (C,)
    theirs = None if baseline is None else 100 * baseline.boxes[:, first:].sum(axis=1) / baseline_images
    order = sorted(range(len(mine)), key=lambda number: (-mine[number], tally.classes[number]))
    groups = {tally.classes[number]: [number] for number in order[:LABEL_ROWS]}
    if rest := order[LABEL_ROWS:]:
        groups[f"{len(rest):,} other labels"] = rest
    boxes = [sum(tally.labels[tally.classes[number]] for number in group) for group in groups.values()]
    rates = [float(mine[group].sum()) for group in groups.values()]
    texts = [(f"{count:,}", f"{rate:,.1f}") for count, rate in zip(boxes, rates, strict=True)]
    if theirs is None:
        return rows(list(groups), rates, None, texts)
    marks = [float(theirs[group].sum()) for group in groups.values()]
    return rows(list(groups), rates, marks, [(*text, f"{mark:,.1f}") for text, mark in zip(texts, marks, strict=True)])


def _failure_rows(tally: Tally) -> list[Row]:
    """One row for each status but ok, with its share of all images."""
    statuses: Sequence[str] = [*FAILURES, *sorted(set(tally.statuses) - {"ok", *FAILURES})]
    counts = [tally.statuses[status] for status in statuses]
    images = tally.statuses.total()
    return rows(
        statuses,
        counts,
        None,
        [(f"{count:,}", f"{100 * count / images:.2f} %" if images else "–") for count in counts],
    )
