"""Do scores mean what they say? Of the detections with score .8, eight in ten should be right.

Reliability diagrams and the expected calibration error: Guo et al., "On Calibration of Modern Neural Networks" (ICML
2017). A detection is right as the VOC devkit matches it at IoU .5; ignored ones are left out.

Shapes: D detections of all classes and images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from detector.data.annotations import CocoDataset
from detector.evaluation.detections import DetectionSet, check_detections
from detector.evaluation.matching import IGNORED, TRUE_POSITIVE, class_overlaps, outcomes
from detector.runtime.postprocess import calibrate

BINS = 10
# Fewer right or wrong detections than this say nothing sure about a curve.
_FEWEST = 20


@dataclass(frozen=True)
class Judged:
    """scores float64 (D,) and whether each detection is right, bool (D,)."""

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class Bin:
    """The detections with scores in one tenth of [0, 1]: their number, mean score and the part that is right."""

    count: int
    score: float
    precision: float


def judge(truth: CocoDataset, detections: DetectionSet, iou: float = 0.5) -> Judged:
    """Every detection that is right or wrong. Raises AnnotationError: an image or label not in `truth`."""
    check_detections(truth, detections)
    scores, right = [np.zeros(0)], [np.zeros(0, bool)]
    for label in range(len(truth.classes)):
        overlaps = class_overlaps(truth, detections, label)
        outcome = outcomes(overlaps, iou)
        scores.append(overlaps.scores[outcome != IGNORED])
        right.append(outcome[outcome != IGNORED] == TRUE_POSITIVE)
    return Judged(np.concatenate(scores), np.concatenate(right))


def fit(judged: Judged) -> tuple[float, float]:
    """(slope, offset) of `postprocess.calibrate` that make the scores most likely (Platt 1999).

    As there, right and wrong count as not quite 1 and 0, so that a clean separation does not make a step of the curve.
    (1, 0), which changes nothing, where too few detections are right or wrong, or higher scores are not better.
    """
    if min(judged.right.sum(), (~judged.right).sum()) < _FEWEST:
        return 1.0, 0.0
    inner = np.clip(judged.scores, 1e-4, 1 - 1e-4)  # as scores are rounded
    odds = np.log(inner / (1 - inner))[:, None]
    rights, wrongs = int(judged.right.sum()), int((~judged.right).sum())
    wanted = np.where(judged.right, (rights + 1) / (rights + 2), 1 / (wrongs + 2))
    model = LogisticRegression(C=np.inf).fit(
        np.concatenate([odds, odds]),
        np.repeat([True, False], len(odds)),
        sample_weight=np.concatenate([wanted, 1 - wanted]),
    )
    slope = float(model.coef_[0, 0])
    return (slope, float(model.intercept_[0])) if slope > 0 else (1.0, 0.0)


def calibrated(judged: Judged, slope: float, offset: float) -> Judged:
    """The same detections with calibrated scores."""
    return Judged(calibrate(judged.scores, slope, offset), judged.right)


def reliability(judged: Judged) -> list[Bin]:
    """One row for each tenth of [0, 1] that holds detections, low scores first."""
    place = np.minimum((judged.scores * BINS).astype(np.int64), BINS - 1)
    rows = []
    for number in np.unique(place):
        inside = place == number
        rows.append(Bin(int(inside.sum()), float(judged.scores[inside].mean()), float(judged.right[inside].mean())))
    return rows


def expected_calibration_error(judged: Judged, least: float = 0.0) -> float:
    """The mean distance between score and precision over the bins, weighted by their detections; NaN without any.

    least: leaves out lower scores; most detections are boxes with hardly any, which are easily right about themselves.
    """
    kept = judged.scores >= least
    rows = reliability(Judged(judged.scores[kept], judged.right[kept]))
    total = sum(row.count for row in rows)
    return sum(row.count * abs(row.score - row.precision) for row in rows) / total if total else float("nan")
