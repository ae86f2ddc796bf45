"""Measures average precision as PASCAL VOC defines it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.common.progress import progress
from detector.data.annotations import CocoDataset
from detector.evaluation.detections import DetectionSet, check_detections
from detector.evaluation.matching import IGNORED, TRUE_POSITIVE, class_overlaps, outcomes

# Boxes at these IoUs fit decently, well and almost perfectly.
IOU_THRESHOLDS = (0.5, 0.7, 0.9)


def eleven_point(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Return VOC 2007's AP: the mean over recall 0, .1, ..., 1 of the best precision at that recall or a higher one.

    recall, precision: (K,), recall never falls; a recall that is never reached has precision 0.
    """
    # Tenths by division: 3 of 10 found reach recall .3, where a sum of tenths would ask for .30000000000000004.
    return sum(float(precision[recall >= step / 10].max(initial=0.0)) for step in range(11)) / 11


def all_point(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Return the AP of VOC 2010 and later: the area under the precision, after each value is raised to the highest one
    at the same or a higher recall. recall, precision: (K,), recall never falls."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


@dataclass(frozen=True)
class ClassResult:
    """One class at one IoU threshold.

    The curve runs over the K detections that are right or wrong, best score first: scores, recall, precision float64
    (K,). `truths` is the number of truths that a detector should find; if it is 0, both APs and recall are NaN.
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
        """Return (recall, precision), each (U,), of the detections from each threshold (U,) on; 0 if there are none."""
        kept = np.searchsorted(-self.scores, -thresholds, side="right")
        return np.append(0.0, self.recall)[kept], np.append(0.0, self.precision)[kept]

    def f1(self, thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the harmonic means (U,) of recall and precision of the detections from each threshold (U,) on."""
        recall, precision = self.at_scores(thresholds)
        total = recall + precision
        return np.divide(2 * recall * precision, total, out=np.zeros_like(total), where=total > 0)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


@dataclass(frozen=True)
class VocResult:
    """The results of all classes, in label order, for each IoU threshold."""

    by_iou: Mapping[float, tuple[ClassResult, ...]]

    def map_11point(self, iou: float) -> float:
        """Return the mean 11-point AP over the classes that have truths, or NaN if none has."""
        return _mean([result.ap_11point for result in self.by_iou[iou]])

    def map_all_point(self, iou: float) -> float:
        """Return the mean all-point AP over the classes that have truths, or NaN if none has."""
        return _mean([result.ap_all_point for result in self.by_iou[iou]])


def evaluate_voc(
    truth: CocoDataset,
    detections: DetectionSet,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
    *,
    shown: bool = False,
) -> VocResult:
    """Match every class's detections at every threshold; shown: with a progress bar over the classes.

    Raises AnnotationError if `truth` does not list an image or a label.
    """
    check_detections(truth, detections)
    results: dict[float, list[ClassResult]] = {iou: [] for iou in iou_thresholds}
    by_class = zip(truth.classes, class_overlaps(truth, detections), strict=True)
    for name, overlaps in progress(by_class, len(truth.classes), "score", "class", shown=shown):
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
