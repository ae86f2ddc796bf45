"""Measures localisation accuracy: how often the best detection of an image is its main object.

This is ImageNet's measure for one object per image (Russakovsky et al., IJCV 2015, section 4), with one guess.
"""

from __future__ import annotations

import numpy as np

from detector.data.annotations import CocoDataset
from detector.evaluation.detections import DetectionSet, check_detections
from detector.runtime.geometry.boxes import area, iou


def localisation_accuracy(truth: CocoDataset, detections: DetectionSet, least_iou: float = 0.5) -> float:
    """Return the part of the images in which the detection with the highest score is right.

    It is right if it has the label of the largest object and an IoU of at least `least_iou` with it. Ignored truths and
    crowds do not count as objects. Images without objects are left out; the result is NaN if none is left.
    Raises AnnotationError if `truth` does not list an image or a label.
    """
    check_detections(truth, detections)
    right = []
    for image in truth.images:
        wanted = np.flatnonzero(~(image.ignore | image.crowd))
        if not len(wanted):
            continue
        largest = wanted[np.argmax(area(image.boxes[wanted]))]
        found = detections.get(image.id)
        hit = False
        if found is not None and len(found.scores):
            best = int(np.argmax(found.scores))
            overlap = float(iou(found.boxes[best : best + 1], image.boxes[largest : largest + 1])[0, 0])
            hit = bool(found.labels[best] == image.labels[largest]) and overlap >= least_iou
        right.append(hit)
    return float(np.mean(right)) if right else float("nan")
