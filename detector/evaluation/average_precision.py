"""Average precision as PASCAL VOC defines it, and the score thresholds that its curves suggest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.data.annotations import CocoDataset
from detector.evaluation.detections import DetectionSet, check_detections
from detector.evaluation.matching import IGNORED, TRUE_POSITIVE, class_overlaps, outcomes

# "Decent", "pretty good" and "almost perfect".
IOU_THRESHOLDS = (0.5, 0.7, 0.9)
# Where no detection is right, no threshold is better than another.
_NO_OPERATING_SCORE = 0.5


def eleven_point(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """VOC 2007: the mean over recall 0, .1, ..., 1 of the best precision at that recall or beyond.

    recall, precision: (K,), recall not falling; a recall that is never reached has precision 0.
    """
    total = 0.0
    for step in range(11):
        # Tenths by division: 3 of 10 found reach recall .3, where a sum of tenths would ask for .30000000000000004.
        reached = precision[recall >= step / 10]
        total += float(reached.max()) if len(reached) else 0.0
    return total / 11


def all_point(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """VOC 2010 and later: the area under the precision made falling. recall, precision: (K,), recall not falling."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


@dataclass(frozen=True)
class ClassResult:
    """One class at one IoU threshold.

    The curve runs over the K detections that are right or wrong, best score first: scores, recall, precision float64
    (K,). `truths` counts the truths to be found; without any, both APs are NaN and recall is empty of meaning (NaN).
    """

    name: str
    truths: int
    true_positives: int
    false_positives: int
    ap_11point: float
    ap_all_point: float
    scores: NDArray[np.float64]
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]

    def at_scores(self, thresholds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(recall, precision) (U,) of the detections that score at least each threshold (U,); 0 where none do."""
        kept = np.searchsorted(-self.scores, -thresholds, side="right")
        return np.append(0.0, self.recall)[kept], np.append(0.0, self.precision)[kept]

    def f1(self, thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
        """(U,) harmonic means of recall and precision of the detections that score at least each threshold."""
        recall, precision = self.at_scores(thresholds)
        total = recall + precision
        return np.divide(2 * recall * precision, total, out=np.zeros_like(total), where=total > 0)

    def best_f1(self) -> tuple[float, float]:
        """(score threshold, F1) where F1 is highest, the highest such threshold; (NaN, 0) if no detection is right."""
        thresholds = np.unique(self.scores)[::-1]
        f1 = self.f1(thresholds)
        if not f1.max(initial=0.0) > 0:
            return float("nan"), 0.0
        best = int(np.argmax(f1))
        return float(thresholds[best]), float(f1[best])


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


@dataclass(frozen=True)
class VocResult:
    """Every class's result, in label order, for each IoU threshold."""

    by_iou: Mapping[float, tuple[ClassResult, ...]]

    def map_11point(self, iou: float) -> float:
        """Mean 11-point AP over the classes that have truths; NaN if none has."""
        return _mean([result.ap_11point for result in self.by_iou[iou]])

    def map_all_point(self, iou: float) -> float:
        """Mean all-point AP over the classes that have truths; NaN if none has."""
        return _mean([result.ap_all_point for result in self.by_iou[iou]])


def evaluate_voc(
    truth: CocoDataset, detections: DetectionSet, iou_thresholds: Sequence[float] = IOU_THRESHOLDS
) -> VocResult:
    """Match every class's detections at every threshold. Raises AnnotationError: an image or label not in `truth`."""
    check_detections(truth, detections)
    results: dict[float, list[ClassResult]] = {iou: [] for iou in iou_thresholds}
    for label, name in enumerate(truth.classes):
        overlaps = class_overlaps(truth, detections, label)
        positives = overlaps.positives
        for iou in iou_thresholds:
            outcome = outcomes(overlaps, iou)
            counted = outcome != IGNORED
            right = outcome[counted] == TRUE_POSITIVE
            found = np.cumsum(right)
            recall = found / positives if positives else np.full(len(found), np.nan)
            precision = found / np.arange(1, len(found) + 1)
            results[iou].append(
                ClassResult(
                    name=name,
                    truths=positives,
                    true_positives=int(right.sum()),
                    false_positives=int((~right).sum()),
                    ap_11point=eleven_point(recall, precision) if positives else float("nan"),
                    ap_all_point=all_point(recall, precision) if positives else float("nan"),
                    scores=overlaps.scores[counted],
                    recall=recall,
                    precision=precision,
                )
            )
    return VocResult({iou: tuple(found) for iou, found in results.items()})


def operating_score(truth: CocoDataset, detections: DetectionSet, iou: float = 0.5) -> float:
    """The one score threshold with the highest mean F1 over the classes that have truths.

    It is the score of some detection, the highest among equals; 0.5 if no detection is right.
    """
    results = [result for result in evaluate_voc(truth, detections, (iou,)).by_iou[iou] if result.truths]
    thresholds = np.unique(np.concatenate([result.scores for result in results] or [np.zeros(0)]))[::-1]
    f1 = np.zeros(len(thresholds))
    for result in results:
        f1 += result.f1(thresholds) / len(results)
    if not f1.max(initial=0.0) > 0:
        return _NO_OPERATING_SCORE
    return float(thresholds[np.argmax(f1)])
