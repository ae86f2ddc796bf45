"""Which detections are right: the matching of the PASCAL VOC devkit (`VOCevaldet.m`).

Shapes: D detections of one class over all images, T truths of that class. The devkit adds 1 to every width because its
edges are inclusive; half-open edges hold the same areas without it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.data.annotations import CocoDataset
from detector.evaluation.detections import DetectionSet

# What a detection turned out to be. IGNORED is neither right nor wrong.
TRUE_POSITIVE, FALSE_POSITIVE, IGNORED = 1, 0, -1


@dataclass(frozen=True)
class ClassOverlaps:
    """One class's detections, best score first, each with its truth; all that no threshold changes.

    scores float64 (D,); truth int64 (D,): which truth overlaps it most, an index into `ignored`, or -1; iou float64
    (D,): how much; crowd float64 (D,): the largest part of the detection inside one crowd; ignored bool (T,).
    """

    scores: NDArray[np.float64]
    truth: NDArray[np.int64]
    iou: NDArray[np.float64]
    crowd: NDArray[np.float64]
    ignored: NDArray[np.bool_]

    @property
    def positives(self) -> int:
        """Truths that are to be found."""
        return int((~self.ignored).sum())


def _overlaps(
    found: NDArray[np.float64], truths: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(D, 4), (T, 4) xyxy -> IoU (D, T) and the part of each detection inside each truth (D, T).

    In float64, as the devkit: in float32 an overlap of exactly the threshold may fall on either side of it.
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
    """Pair the detections of a class with the truths of their own images. Equal scores keep the order of the images,
    then of the detections in their image."""
    scores: list[NDArray[np.float64]] = []
    truths: list[NDArray[np.int64]] = []
    ious: list[NDArray[np.float64]] = []
    crowds: list[NDArray[np.float64]] = []
    ignored: list[NDArray[np.bool_]] = []
    count = 0
    for image in truth.images:
        of_class = image.labels == label
        single = of_class & ~image.crowd
        found = detections.get(image.id)
        if found is not None:
            mine = found.labels == label
            boxes = found.boxes[mine].astype(np.float64)
            scores.append(found.scores[mine])
            best = np.full(len(boxes), -1, np.int64)
            best_iou = np.zeros(len(boxes))
            in_crowd = np.zeros(len(boxes))
            if single.any():
                iou, _ = _overlaps(boxes, image.boxes[single].astype(np.float64))
                best, best_iou = iou.argmax(axis=1) + count, iou.max(axis=1)
            crowd = of_class & image.crowd
            if crowd.any():
                _, inside = _overlaps(boxes, image.boxes[crowd].astype(np.float64))
                in_crowd = inside.max(axis=1)
            truths.append(best)
            ious.append(best_iou)
            crowds.append(in_crowd)
        ignored.append(image.ignore[single])
        count += int(single.sum())
    all_scores = np.concatenate(scores or [np.zeros(0)])
    order = np.argsort(-all_scores, kind="stable")
    return ClassOverlaps(
        scores=all_scores[order],
        truth=np.concatenate(truths or [np.zeros(0, np.int64)])[order],
        iou=np.concatenate(ious or [np.zeros(0)])[order],
        crowd=np.concatenate(crowds or [np.zeros(0)])[order],
        ignored=np.concatenate(ignored or [np.zeros(0, np.bool_)]),
    )


def outcomes(overlaps: ClassOverlaps, threshold: float) -> NDArray[np.int64]:
    """(D,) TRUE_POSITIVE, FALSE_POSITIVE or IGNORED at an IoU of at least `threshold`, best score first.

    A detection goes to the truth that it overlaps most. An ignored truth makes it IGNORED, however many there are; the
    first on a truth is right and later ones are false: the devkit never hands them to the next best truth. A false
    one with at least `threshold` of its own area inside a crowd is IGNORED, as COCO does; VOC has no crowds.
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
