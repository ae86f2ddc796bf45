"""Finds a detector's mistakes: false positives by kind, and the truths that it does not find.

The kinds are those of Hoiem, Chodpathumwan & Dai, "Diagnosing Error in Object Detectors" (ECCV 2012). Duplicates are a
kind of their own, as in Bolya et al., "TIDE" (ECCV 2020). A detection is right or wrong as in average precision at IoU
.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from detector.data.annotations import CocoDataset, ImageInfo
from detector.evaluation.detections import DetectionSet, check_detections
from detector.evaluation.matching import FALSE_POSITIVE, TRUE_POSITIVE, ClassOverlaps, class_overlaps, outcomes
from detector.runtime.geometry.boxes import iou
from detector.runtime.postprocess import Detections

Kind = Literal["duplicate", "localisation", "confusion", "background"]
KINDS: dict[Kind, str] = {
    "localisation": "on an object of its class, but badly placed: IoU .1 to .5",
    "confusion": "on an object of another class",
    "background": "on no object: IoU below .1 with every truth",
    "duplicate": "on an object that a detection with a higher score has found",
}
MATCHED = 0.5
# Below this IoU a detection does not count as near an object; both papers use this value.
TOUCHED = 0.1


@dataclass(frozen=True)
class FalsePositive:
    """A wrong detection: its index `detection` in the image with the index `image` in the dataset.

    overlap: IoU with the truth that decides the kind; confused: the label of that truth if it is of another class.
    """

    image: int
    detection: int
    label: int
    score: float
    kind: Kind
    overlap: float
    confused: int | None = None


@dataclass(frozen=True)
class Miss:
    """A truth that is not found: its index `truth` in the image with the index `image`; share: its part of the area."""

    image: int
    truth: int
    label: int
    share: float


@dataclass(frozen=True)
class Mistakes:
    """All mistakes. false_positives: best score first; misses: largest first; found: the number of truths found."""

    false_positives: tuple[FalsePositive, ...]
    misses: tuple[Miss, ...]
    found: int


def find_mistakes(truth: CocoDataset, detections: DetectionSet, score: float) -> Mistakes:
    """Return the mistakes of the detections that score at least `score`. Ignored truths and crowds are never missed.

    Raises AnnotationError if `truth` does not list an image or a label.
    """
    check_detections(truth, detections)
    kept = {number: _confident(found, score) for number, found in detections.items()}
    wrong: list[FalsePositive] = []
    missed: list[Miss] = []
    found = 0
    for label, overlaps in enumerate(class_overlaps(truth, kept)):
        outcome = outcomes(overlaps, MATCHED)
        wrong += [
            _judge(truth, kept, label, overlaps, rank) for rank in np.flatnonzero(outcome == FALSE_POSITIVE).tolist()
        ]
        hit = np.isin(np.arange(len(overlaps.ignored)), overlaps.truth[outcome == TRUE_POSITIVE])
        found += int(hit.sum())
        for image, index in overlaps.truth_places[~hit & ~overlaps.ignored].tolist():
            missed.append(Miss(image, index, label, _share(truth.images[image], index)))
    wrong.sort(key=lambda item: (-item.score, item.image, item.detection))
    missed.sort(key=lambda item: (-item.share, item.image, item.truth))
    return Mistakes(tuple(wrong), tuple(missed), found)


def _confident(found: Detections, score: float) -> Detections:
    """Return the detections with label -1 for those below `score`, so that every detection keeps its index."""
    return Detections(found.boxes, found.scores, np.where(found.scores >= score, found.labels, -1))


def _judge(
    truth: CocoDataset, detections: DetectionSet, label: int, overlaps: ClassOverlaps, rank: int
) -> FalsePositive:
    image, index = overlaps.places[rank].tolist()
    info = truth.images[image]
    own = float(overlaps.iou[rank])
    others = np.flatnonzero((info.labels != label) & ~info.crowd)
    other, confused = 0.0, -1
    if len(others):
        found = iou(detections[info.id].boxes[index : index + 1], info.boxes[others])[0]  # (T,)
        other, confused = float(found.max()), int(info.labels[others[int(found.argmax())]])
    score = float(overlaps.scores[rank])
    if own >= MATCHED:
        return FalsePositive(image, index, label, score, "duplicate", own)
    if other >= MATCHED or (other >= TOUCHED > own):
        return FalsePositive(image, index, label, score, "confusion", other, confused)
    if own >= TOUCHED:
        return FalsePositive(image, index, label, score, "localisation", own)
    return FalsePositive(image, index, label, score, "background", max(own, other))


def _share(image: ImageInfo, index: int) -> float:
    x1, y1, x2, y2 = image.boxes[index].tolist()
    return max(0.0, x2 - x1) * max(0.0, y2 - y1) / (image.width * image.height)
