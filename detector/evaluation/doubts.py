"""Ranks annotations that are probably wrong, by how much a detector's own detections contradict them.

The three kinds are those of Tkachenko, Thyagarajan and Mueller, "ObjectLab" (ICML 2023 workshop on data-centric machine
learning): an object was overlooked, a label was swapped, a box is badly placed. The formulas are this module's own.
Shapes: T truths, D detections of one image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detector.data.annotations import CocoDataset, ImageInfo
from detector.evaluation.detections import DetectionSet, check_detections, no_detections
from detector.runtime.geometry.boxes import area, intersection, iou
from detector.runtime.postprocess import Detections

Kind = Literal["overlooked", "swapped", "misplaced"]
KINDS: dict[Kind, str] = {
    "overlooked": "a detection where nothing is annotated",
    "swapped": "a detection of another class lies on the annotated box",
    "misplaced": "a detection of the same class fits the annotated box badly",
}
# Below this IoU a detection says nothing about a box.
_TOUCHED = 0.1
# A detection that lies wholly in an annotated box without fitting it is explained by it to this part.
_PART = 0.5


@dataclass(frozen=True)
class Doubt:
    """A doubtful annotation. suspicion: 0 to 1, comparable within one kind; image: an index into the dataset's images.

    detection: the index of the detection that contradicts; truth: that of the annotated box, or None if it is missing.
    """

    kind: Kind
    image: int
    suspicion: float
    detection: int
    truth: int | None = None


def find_doubts(truth: CocoDataset, detections: DetectionSet) -> list[Doubt]:
    """Return the doubts about all annotations, the greatest of each kind first, kind by kind in the order of KINDS.

    detections: with calibrated scores, of a detector that has not learnt from these annotations: one that has will
    mostly repeat them. Ignored truths and crowds are never in doubt, and what lies in them is not overlooked.
    Raises AnnotationError if `truth` does not list an image or a label.
    """
    check_detections(truth, detections)
    doubts: list[Doubt] = []
    for number, image in enumerate(truth.images):
        found = detections.get(image.id) or no_detections()
        if len(found.scores):
            overlaps = iou(found.boxes, image.boxes)  # (D, T)
            doubts += _overlooked(number, image, found, overlaps)
            doubts += _about_boxes(number, image, found, overlaps)
    kinds = list(KINDS)
    return sorted(doubts, key=lambda doubt: (kinds.index(doubt.kind), -doubt.suspicion, doubt.image))


def _overlooked(number: int, image: ImageInfo, found: Detections, overlaps: NDArray[np.float32]) -> list[Doubt]:
    """Return a doubt for each detection: its score, less what annotated boxes explain of it.

    A box explains a detection by their IoU, or by the part of the detection inside it: detectors often mark a part of
    an object, or one of several in a crowd. It also explains by the part of itself inside the detection, which then
    holds several objects.
    """
    both = intersection(found.boxes, image.boxes)  # (D, T)
    own = np.maximum(area(found.boxes), 1e-6)[:, None]
    theirs = np.maximum(area(image.boxes), 1e-6)[None]
    inside = np.maximum(both / own, both / theirs)
    explained = np.maximum(overlaps, _PART * inside)
    explained[:, image.ignore | image.crowd] = inside[:, image.ignore | image.crowd]
    rest = 1.0 - explained.max(axis=1, initial=0.0)
    return [
        Doubt("overlooked", number, float(score * left), index)
        for index, (score, left) in enumerate(zip(found.scores, rest, strict=True))
    ]


def _about_boxes(number: int, image: ImageInfo, found: Detections, overlaps: NDArray[np.float32]) -> list[Doubt]:
    """Return two doubts for each annotated box that a detection touches.

    Swapped: the best evidence, score times IoU, for another class, less that for its own. A detection that fits a box
    of its own class better speaks for that one. Misplaced: the score of the detection of its class that speaks most
    for it, times what their IoU lacks. One that fits any other box better speaks for that one.
    """
    doubts = []
    evidence = found.scores[:, None] * overlaps  # (D, T)
    best = overlaps.max(axis=1, initial=0.0)
    best_of_class = np.where(found.labels[:, None] == image.labels, overlaps, 0).max(axis=1, initial=0.0)
    for index in np.flatnonzero(~(image.ignore | image.crowd)).tolist():
        same = found.labels == image.labels[index]
        own = float(evidence[same, index].max(initial=0.0))
        other = np.where(~same & (overlaps[:, index] > best_of_class), evidence[:, index], 0.0)
        rival = int(other.argmax())
        if other[rival] > 0:
            doubts.append(Doubt("swapped", number, float(other[rival] * (1 - own)), rival, index))
        speaks = same & (overlaps[:, index] >= np.maximum(best, _TOUCHED))
        if speaks.any():
            nearest = int(np.where(speaks, evidence[:, index], -1.0).argmax())
            lacks = float(found.scores[nearest] * (1 - overlaps[nearest, index]))
            doubts.append(Doubt("misplaced", number, lacks, nearest, index))
    return doubts
