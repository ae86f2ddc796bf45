"""Decides which detections are right, by the matching of the PASCAL VOC devkit (`VOCevaldet.m`).

Shapes: D detections of one class over all images, T truths of that class. The devkit adds 1 to every width because its
edges are inclusive; with half-open edges the areas are the same without the 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.data.annotations import CocoDataset
from detector.evaluation.detections import DetectionSet

# Outcomes of a detection. One that is IGNORED is neither right nor wrong.
TRUE_POSITIVE, FALSE_POSITIVE, IGNORED = 1, 0, -1


@dataclass(frozen=True)
class ClassOverlaps:
    """One class's detections, best score first, each with its truth; no threshold changes these numbers.

    scores: float64 (D,). truth: int64 (D,), the truth that overlaps the detection most, as an index into `ignored`, or
    -1; iou: float64 (D,), their IoU. crowd: float64 (D,), the largest part of the detection inside one crowd. ignored:
    bool (T,). places: int64 (D, 2), each detection's image, by its position in the dataset, and its index in the image;
    truth_places: int64 (T, 2), the same for each truth.
    """

    scores: NDArray[np.float64]
    truth: NDArray[np.int64]
    iou: NDArray[np.float64]
    crowd: NDArray[np.float64]
    ignored: NDArray[np.bool_]
    places: NDArray[np.int64]
    truth_places: NDArray[np.int64]

    @property
    def positives(self) -> int:
        """Return the number of truths that a detector should find."""
        return int((~self.ignored).sum())


def _overlaps(
    found: NDArray[np.float64], truths: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the IoU (D, T) of detections (D, 4) and truths (T, 4), and the part of each detection inside each truth.

    Numbers are float64, as in the devkit: in float32 an IoU equal to the threshold may be rounded below or above it.
    """
    low = np.maximum(found[:, None, :2], truths[None, :, :2])  # (D, T, 2)
    high = np.minimum(found[:, None, 2:], truths[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0.0), axis=2)  # (D, T)
    found_area = np.prod(np.maximum(found[:, 2:] - found[:, :2], 0.0), axis=1)[:, None]
    truth_area = np.prod(np.maximum(truths[:, 2:] - truths[:, :2], 0.0), axis=1)[None]
    union = found_area + truth_area - both
    iou = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    inside = np.divide(both, found_area, out=np.zeros_like(both), where=found_area > 0)
    return iou, inside


def class_overlaps(truth: CocoDataset, detections: DetectionSet, label: int) -> ClassOverlaps:
    """Pair the detections of a class with the truths of their own images.

    Detections with equal scores keep the order of the images, and within an image the order of its detections.
    """
    none, no_places = np.zeros(0), np.zeros((0, 2), np.int64)
    rows: list[tuple[NDArray[Any], ...]] = [(none, np.zeros(0, np.int64), none, none, no_places)]
    truths: list[tuple[NDArray[Any], ...]] = [(np.zeros(0, np.bool_), no_places)]
    count = 0
    for number, image in enumerate(truth.images):
        single, crowd = (np.flatnonzero((image.labels == label) & (image.crowd == kind)) for kind in (False, True))
        found = detections.get(image.id)
        if found is not None:
            mine = np.flatnonzero(found.labels == label)
            boxes = found.boxes[mine].astype(np.float64)
            best, best_iou, in_crowd = np.full(len(boxes), -1), np.zeros(len(boxes)), np.zeros(len(boxes))
            if len(single):
                iou, _ = _overlaps(boxes, image.boxes[single].astype(np.float64))
                best, best_iou = iou.argmax(axis=1) + count, iou.max(axis=1)
            if len(crowd):
                _, inside = _overlaps(boxes, image.boxes[crowd].astype(np.float64))
                in_crowd = inside.max(axis=1)
            rows.append((found.scores[mine], best, best_iou, in_crowd, _places(number, mine)))
        truths.append((image.ignore[single], _places(number, single)))
        count += len(single)
    columns = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    order = np.argsort(-columns[0], kind="stable")
    scores, best, best_iou, in_crowd, places = (column[order] for column in columns)
    ignored, truth_places = (np.concatenate(parts) for parts in zip(*truths, strict=True))
    return ClassOverlaps(scores, best, best_iou, in_crowd, ignored, places, truth_places)


def _places(image: int, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return pairs (image, index), int64 (N, 2), for indices (N,)."""
    return np.stack([np.full(len(indices), image), indices], axis=1)


def outcomes(overlaps: ClassOverlaps, threshold: float) -> NDArray[np.int64]:
    """Return TRUE_POSITIVE, FALSE_POSITIVE or IGNORED for each detection (D,), best score first.

    A detection belongs to the truth that it overlaps most, if their IoU is at least `threshold`. If that truth is
    ignored, all its detections are IGNORED. Otherwise its first detection is right and the later ones are false: as in
    the devkit, they do not go to the next best truth. A false detection with at least `threshold` of its own area
    inside a crowd is IGNORED, as in COCO's evaluation; VOC has no crowds.
    """
    result = np.full(len(overlaps.scores), FALSE_POSITIVE, np.int64)
    candidates = np.flatnonzero((overlaps.truth >= 0) & (overlaps.iou >= threshold))
    of_ignored = overlaps.ignored[overlaps.truth[candidates]]
    result[candidates[of_ignored]] = IGNORED
    rivals = candidates[~of_ignored]
    _, first = np.unique(overlaps.truth[rivals], return_index=True)
    result[rivals[first]] = TRUE_POSITIVE
    result[(result == FALSE_POSITIVE) & (overlaps.crowd >= threshold)] = IGNORED
    return result
