"""What a detector gets wrong, and how: false positives by kind, and the truths that it does not find.

Kinds as Hoiem, Chodpathumwan & Dai, "Diagnosing Error in Object Detectors" (ECCV 2012), with duplicates on their own as
in Bolya et al., "TIDE" (ECCV 2020). Right and wrong are those of average precision at IoU .5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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
    "duplicate": "on an object that a better detection had found already",
}
MATCHED = 0.5
# Below, a detection and an object have nothing to do with each other: so both papers.
TOUCHED = 0.1


@dataclass(frozen=True)
class FalsePositive:
    """Detection number `detection` of image number `image` (in the dataset's order); overlap: IoU with the truth that
    says its kind; confused: the label of that truth where it is another one."""

    image: int
    detection: int
    label: int
    score: float
    kind: Kind
    overlap: float
    confused: int | None = None


@dataclass(frozen=True)
class Miss:
    """Truth number `truth` of image number `image` (in the dataset's order); share: its part of the image's area."""

    image: int
    truth: int
    label: int
    share: float


@dataclass(frozen=True)
class Mistakes:
    """false_positives: best score first; misses: largest share first; found: truths that were found."""

    false_positives: tuple[FalsePositive, ...]
    misses: tuple[Miss, ...]
    found: int


def find_mistakes(truth: CocoDataset, detections: DetectionSet, score: float) -> Mistakes:
    """Of the detections that score at least `score`. Truths that are ignored, and crowds, are never missed.

    Raises AnnotationError: an image or label not in `truth`.
    """
    check_detections(truth, detections)
    kept = {number: _confident(found, score) for number, found in detections.items()}
    wrong: list[FalsePositive] = []
    missed: list[Miss] = []
    found = 0
    for label in range(len(truth.classes)):
        overlaps = class_overlaps(truth, kept, label)
        outcome = outcomes(overlaps, MATCHED)
        places = _detection_places(truth, kept, label)
        wrong += [_judge(truth, kept, label, overlaps, place, places[place]) for place in
                  np.flatnonzero(outcome == FALSE_POSITIVE).tolist()]  # fmt: skip
        hit = set(overlaps.truth[outcome == TRUE_POSITIVE].tolist())
        found += len(hit)
        for number, (image, index) in enumerate(_truth_places(truth, label)):
            if number not in hit and not overlaps.ignored[number]:
                missed.append(Miss(image, index, label, _share(truth.images[image], index)))
    wrong.sort(key=lambda item: (-item.score, item.image, item.detection))
    missed.sort(key=lambda item: (-item.share, item.image, item.truth))
    return Mistakes(tuple(wrong), tuple(missed), found)


def _confident(found: Detections, score: float) -> Detections:
    """The same arrays, with -1 for the labels of the others, so that a detection keeps its number."""
    return Detections(found.boxes, found.scores, np.where(found.scores >= score, found.labels, -1))


def _detection_places(truth: CocoDataset, detections: DetectionSet, label: int) -> list[tuple[int, int]]:
    """(image, detection) of a class in the order of its overlaps: best score first, then as they come."""
    places: list[tuple[int, int]] = []
    scores: list[NDArray[np.float64]] = []
    for number, image in enumerate(truth.images):
        found = detections.get(image.id)
        if found is not None:
            mine = np.flatnonzero(found.labels == label)
            places += [(number, int(index)) for index in mine]
            scores.append(found.scores[mine])
    order = np.argsort(-np.concatenate(scores or [np.zeros(0)]), kind="stable")
    return [places[index] for index in order]


def _truth_places(truth: CocoDataset, label: int) -> Iterator[tuple[int, int]]:
    """(image, truth) of a class, as overlaps number them: without crowds."""
    for number, image in enumerate(truth.images):
        for index in np.flatnonzero((image.labels == label) & ~image.crowd).tolist():
            yield number, index


def _judge(
    truth: CocoDataset,
    detections: DetectionSet,
    label: int,
    overlaps: ClassOverlaps,
    rank: int,
    place: tuple[int, int],
) -> FalsePositive:
    image, index = place
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
