"""Chooses the scores from which detections are worth believing, on images that the figures are not measured on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detector.data.annotations import CocoDataset
from detector.evaluation.average_precision import ClassResult, evaluate_voc
from detector.evaluation.detections import DetectionSet

# If no detection is right, no threshold is better than another.
_NO_SCORE = 0.5
# The mean of all classes counts like this many objects of a class. The best score of a few objects is chance: chosen on
# 200 images, such scores were worse on others than one score for all (docs/benchmarks.md).
BORROWED = 100


class Scores(NamedTuple):
    """operating: the threshold for all classes; by_class: each class's own."""

    operating: float
    by_class: dict[str, float]


def choose_scores(truth: CocoDataset, detections: DetectionSet, iou: float = 0.5) -> Scores:
    """Return the thresholds with the highest F1 at this IoU."""
    return best_scores(evaluate_voc(truth, detections, (iou,)).by_iou[iou])


def best_scores(results: Sequence[ClassResult], borrowed: float = BORROWED) -> Scores:
    """Return the thresholds with the highest F1 for the classes of one VocResult, at one IoU.

    The operating score has the highest mean F1 over the classes that have truths. A class's own score has the highest
    mean of its own F1, with the weight of its number of truths, and of the mean F1, with the weight `borrowed`; so a
    class without truths has the operating score. Each is the score of some detection: of equally good ones the highest,
    and .5 if no detection is right.
    """
    counted = [result for result in results if result.truths]
    thresholds = np.unique(np.concatenate([result.scores for result in counted] or [np.zeros(0)]))[::-1]
    curves = {result.name: result.f1(thresholds) for result in counted}
    mean = sum(curves.values(), np.zeros(len(thresholds))) / max(len(counted), 1)
    if not mean.max(initial=0.0) > 0:
        return Scores(_NO_SCORE, {result.name: _NO_SCORE for result in results})
    by_class = {result.name: result.truths * curves.get(result.name, 0.0) + borrowed * mean for result in results}
    return Scores(
        float(thresholds[mean.argmax()]),
        {name: float(thresholds[curve.argmax()]) for name, curve in by_class.items()},
    )
