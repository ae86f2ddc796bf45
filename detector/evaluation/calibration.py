"""Calibrates scores and measures how well they are calibrated: of the detections with score .8, 80 % should be right.

Reliability diagrams and the expected calibration error follow Guo et al., "On Calibration of Modern Neural Networks"
(ICML 2017). The VOC devkit's matching at IoU .5 decides which detections are right; ignored ones are left out.

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
# With fewer right or wrong detections than this, a curve is too uncertain.
_FEWEST = 20


@dataclass(frozen=True)
class Judged:
    """Detections with their outcome. scores: float64 (D,); right: bool (D,)."""

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class Bin:
    """One tenth of [0, 1]: the number of detections with such scores, their mean score, and the part that is right."""

    count: int
    score: float
    precision: float


def judge(truth: CocoDataset, detections: DetectionSet, iou: float = 0.5) -> Judged:
    """Return every detection that is right or wrong. Raises AnnotationError if `truth` lacks an image or a label."""
    check_detections(truth, detections)
    scores, right = [np.zeros(0)], [np.zeros(0, bool)]
    for overlaps in class_overlaps(truth, detections):
        outcome = outcomes(overlaps, iou)
        scores.append(overlaps.scores[outcome != IGNORED])
        right.append(outcome[outcome != IGNORED] == TRUE_POSITIVE)
    return Judged(np.concatenate(scores), np.concatenate(right))


def fit(judged: Judged) -> tuple[float, float]:
    """Return (slope, offset) for `postprocess.calibrate` that make the outcomes most likely (Platt 1999).

    As in that paper, right and wrong count as slightly less than 1 and more than 0, so that a clean separation does not
    turn the curve into a step. Returns (1, 0), which changes nothing, if too few detections are right or wrong, or if
    higher scores are not better.
    """
    if min(judged.right.sum(), (~judged.right).sum()) < _FEWEST:
        return 1.0, 0.0
    inner = np.clip(judged.scores, 1e-4, 1 - 1e-4)  # scores are rounded to 1e-4
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
    """Return the same detections with calibrated scores."""
    return Judged(calibrate(judged.scores, slope, offset), judged.right)


def reliability(judged: Judged) -> list[Bin]:
    """Return one bin for each tenth of [0, 1] that has detections, low scores first."""
    place = np.minimum((judged.scores * BINS).astype(np.int64), BINS - 1)
    rows = []
    for number in np.unique(place):
        inside = place == number
        rows.append(Bin(int(inside.sum()), float(judged.scores[inside].mean()), float(judged.right[inside].mean())))
    return rows


def expected_calibration_error(judged: Judged, least: float = 0.0) -> float:
    """Return the mean distance between score and precision over the bins, weighted by their numbers of detections.

    It is NaN without detections. least: lower scores are left out; most detections have scores near 0 and are wrong, so
    that they are well calibrated and would hide the others.
    """
    kept = judged.scores >= least
    rows = reliability(Judged(judged.scores[kept], judged.right[kept]))
    total = sum(row.count for row in rows)
    return sum(row.count * abs(row.score - row.precision) for row in rows) / total if total else float("nan")
