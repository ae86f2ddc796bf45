"""Localisation accuracy: is the best detection of an image its main object? ImageNet's measure of "one object an image"
(Russakovsky et al., IJCV 2015, section 4), with one guess."""

from __future__ import annotations

import numpy as np

from detector.data.annotations import CocoDataset
from detector.evaluation.detections import DetectionSet, check_detections
from detector.runtime.geometry.boxes import area, iou


def localisation_accuracy(truth: CocoDataset, detections: DetectionSet, least_iou: float = 0.5) -> float:
    """The part of the images whose detection with the highest score has the label of the largest object and overlaps it
    by at least `least_iou`.

    Ignored truths and crowds are no objects; images without any are left out, and without a single one it is NaN.
    Raises AnnotationError: an image or label not in `truth`.
    """
    check_detections(truth, detections)
    right = []
    for image in truth.images:
        wanted = np.flatnonzero(~(image.ignore | image.crowd))
        if not len(wanted):
            continue
        largest = wanted[np.argmax(area(image.boxes[wanted]))]
        found = detections.get(image.id)
        if found is None or not len(found.scores):
            right.append(False)
            continue
        best = int(np.argmax(found.scores))
        overlap = float(iou(found.boxes[best : best + 1], image.boxes[largest : largest + 1])[0, 0])
        right.append(bool(found.labels[best] == image.labels[largest]) and overlap >= least_iou)
    return float(np.mean(right)) if right else float("nan")
