"""Decides which detections are right, by the matching of the PASCAL VOC devkit (`VOCevaldet.m`).

Shapes: D detections of one class over all images, T truths of that class. The devkit adds 1 to every width because its
edges are inclusive; with half-open edges the areas are the same without the 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.data.annotations import CocoDataset, ExactImage, ImageInfo
from detector.evaluation.detections import DetectionSet, ExactDetections
from detector.runtime.postprocess import Detections

# Outcomes of a detection. One that is IGNORED is neither right nor wrong.
TRUE_POSITIVE, FALSE_POSITIVE, IGNORED = 1, 0, -1
# Pairs of a detection and a truth that are compared at once, in about 100 bytes each.
_PAIRS_AT_ONCE = 1_000_000


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


@dataclass(frozen=True)
class _Rows:
    """Boxes of a whole dataset, one row a box, sorted by image and by the index in the image.

    boxes: float64 (N, 4) xyxy, because in float32 an IoU equal to the threshold may be rounded below or above it;
    areas: float64 (N,); places: int64 (N, 2), as in ClassOverlaps; scores: float64 (N,), 0 for truths; ignored, crowd:
    bool (N,), False for detections.
    """

    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    places: NDArray[np.int64]
    scores: NDArray[np.float64]
    ignored: NDArray[np.bool_]
    crowd: NDArray[np.bool_]

    def take(self, rows: slice | NDArray[Any]) -> _Rows:
        """Return some of the rows."""
        return _Rows(*(getattr(self, column.name)[rows] for column in fields(self)))


def _by_class(classes: int, places: Sequence[int], parts: Sequence[Detections | ImageInfo]) -> list[_Rows]:
    """Return the rows of each class. parts: the truths or the detections of images, places: (P,) their positions."""
    sizes = [len(part.labels) for part in parts]
    images, indices = np.repeat(places, sizes), np.concatenate([np.zeros(0, np.int64), *map(np.arange, sizes)])
    exact = [_exact(part) for part in parts]
    flags = [part for part in parts if isinstance(part, ImageInfo)]
    count = len(images)
    rows = _Rows(
        boxes=np.concatenate([np.zeros((0, 4)), *(boxes for boxes, _ in exact)]),
        areas=np.concatenate([np.zeros(0), *(areas for _, areas in exact)]),
        places=np.stack([images, indices], axis=1).astype(np.int64),
        scores=np.concatenate([part.scores for part in parts if isinstance(part, Detections)] or [np.zeros(count)]),
        ignored=np.concatenate([part.ignore for part in flags] or [np.zeros(count, np.bool_)]),
        crowd=np.concatenate([part.crowd for part in flags] or [np.zeros(count, np.bool_)]),
    )
    labels = np.concatenate([np.zeros(0, np.int64), *(part.labels for part in parts)])
    order = np.argsort(labels, kind="stable")
    edges = np.searchsorted(labels[order], np.arange(classes + 1))  # labels below 0 belong to no class
    return [rows.take(order[low:high]) for low, high in pairwise(edges.tolist())]


def _exact(part: Detections | ImageInfo) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the boxes, float64 (N, 4) xyxy, and their areas (N,), by the exact numbers of a file if they are known."""
    if isinstance(part, ExactImage | ExactDetections):
        low, size = part.xywh[:, :2], part.xywh[:, 2:]
        return np.concatenate([low, low + size], axis=1), np.prod(size, axis=1)
    boxes = part.boxes.astype(np.float64)
    return boxes, np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1)


def _best(found: _Rows, truths: _Rows, *, by_own_area: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return for each detection (D,) the truth of its image that it overlaps most, or -1, and their overlap, or 0.

    The overlap is the IoU or, `by_own_area`, the part of the detection inside the truth. The first of equals is taken.
    """
    best, overlap = np.full(len(found.areas), -1, np.int64), np.zeros(len(found.areas))
    first, end = (np.searchsorted(truths.places[:, 0], found.places[:, 0], side) for side in ("left", "right"))
    rows = np.flatnonzero(end > first)
    ends = np.cumsum((end - first)[rows])
    for some in np.split(rows, np.flatnonzero(np.diff(ends // _PAIRS_AT_ONCE)) + 1):
        if not len(some):
            continue
        counts = (end - first)[some]
        starts = np.cumsum(counts) - counts
        mine = np.repeat(some, counts)  # (P,), one for each pair of a detection and a truth
        theirs = np.arange(len(mine)) + np.repeat(first[some] - starts, counts)
        low = np.maximum(found.boxes[mine, :2], truths.boxes[theirs, :2])  # (P, 2)
        high = np.minimum(found.boxes[mine, 2:], truths.boxes[theirs, 2:])
        both = np.prod(np.maximum(high - low, 0.0), axis=1)
        own = found.areas[mine]
        whole = own if by_own_area else own + truths.areas[theirs] - both
        value = np.divide(both, whole, out=np.zeros_like(both), where=whole > 0)
        overlap[some] = np.maximum.reduceat(value, starts)
        largest = value == np.repeat(overlap[some], counts)
        best[some] = np.minimum.reduceat(np.where(largest, theirs, len(truths.areas)), starts)
    return best, overlap


def class_overlaps(truth: CocoDataset, detections: DetectionSet) -> Iterator[ClassOverlaps]:
    """Pair, class by class in label order, the detections with the truths of their own images.

    Detections with equal scores keep the order of the images, and within an image the order of its detections.
    """
    classes = len(truth.classes)
    images = [number for number, image in enumerate(truth.images) if image.id in detections]
    all_found = _by_class(classes, images, [detections[truth.images[number].id] for number in images])
    for found, truths in zip(all_found, _by_class(classes, range(len(truth.images)), truth.images), strict=True):
        single = truths.take(~truths.crowd)
        best, overlap = _best(found, single, by_own_area=False)
        _, crowd = _best(found, truths.take(truths.crowd), by_own_area=True)
        order = np.argsort(-found.scores, kind="stable")
        yield ClassOverlaps(
            scores=found.scores[order],
            truth=best[order],
            iou=overlap[order],
            crowd=crowd[order],
            ignored=single.ignored,
            places=found.places[order],
            truth_places=single.places,
        )


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
