"""Command `check-labels`: lists the annotations of a dataset that a detector contradicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.common.errors import AnnotationError
from detector.common.files import replaced
from detector.data.annotations import CocoDataset, ImageInfo, load_coco
from detector.evaluation.detections import DetectionSet
from detector.evaluation.doubts import KINDS, Doubt, find_doubts
from detector.evaluation.labels_page import labels_page
from detector.evaluation.measure import detect_all
from detector.runtime.artifact import load_artifact
from detector.runtime.detector import Detector, open_detector, read_for
from detector.runtime.images import decode_image
from detector.runtime.postprocess import Detections
from detector.stages.metrics_file import write_json

PAGE_FILE, LIST_FILE = "labels.html", "labels.json"
# Doubts of each kind in the file and on the page.
_LISTED, _SHOWN = 200, 20
# Annotations with less suspicion fit their detections, up to a few pixels: they are in no doubt.
_LEAST_DOUBT = 0.1


def run(folder: Path, dataset: Path, split: str, out: Path, workers: int, device: str) -> list[Doubt]:
    """Rank the annotations of `dataset/SPLIT.json` by the detections of the artifact in `folder`.

    Writes labels.json, with up to 200 doubts of each kind whose suspicion is at least .1, and labels.html, which shows
    the first 20, to `out`, and returns those in labels.json. Raises AnnotationError if the detector has no class of the
    dataset.
    """
    artifact = load_artifact(folder)
    truth = load_coco(dataset / f"{split}.json")
    if not set(artifact.classes) & set(truth.classes):
        raise AnnotationError(
            f"{dataset}: has no class of the detector {folder}: {', '.join(truth.classes[:5])} here, and "
            f"{', '.join(artifact.classes[:5])} there"
        )
    detector = open_detector(folder, device)
    found = find(detector, dataset / "images", truth, split, artifact.least_score, workers)
    every = [own for own in find_doubts(_judged(truth, detector.classes), found) if own.suspicion >= _LEAST_DOUBT]
    doubts = [doubt for kind in KINDS for doubt in _first(every, kind, _LISTED)]
    shown = [doubt for kind in KINDS for doubt in _first(every, kind, _SHOWN)]

    def read(image: ImageInfo) -> NDArray[np.uint8]:
        return decode_image((dataset / "images" / image.file_name).read_bytes())

    page = labels_page(f"{dataset}, {split}", truth, found, shown, artifact.operating_score, read)
    with replaced(out / PAGE_FILE) as file:
        file.write(page)
    write_json(out / LIST_FILE, [_row(truth, found, doubt) for doubt in doubts])
    return doubts


def _first(doubts: Sequence[Doubt], kind: str, count: int) -> list[Doubt]:
    return [doubt for doubt in doubts if doubt.kind == kind][:count]


def find(
    detector: Detector, images: Path, truth: CocoDataset, split: str, min_score: float, workers: int
) -> dict[int, Detections]:
    """Return the detections by image, those of the dataset's classes alone, with its label numbers."""
    labels = np.array([truth.classes.index(name) if name in truth.classes else -1 for name in detector.classes])

    def detect(_: int, data: bytes) -> Detections:
        own = detector.detect([read_for(detector, data)], min_score=min_score).detections[0]
        renamed = labels[own.labels]
        known = renamed >= 0
        return Detections(own.boxes[known], own.scores[known], renamed[known])

    return detect_all(detect, images, truth, f"check labels, {split}", workers)


def _judged(truth: CocoDataset, known: Sequence[str]) -> CocoDataset:
    """Return the dataset with the objects of classes that the detector does not know as ignored ones."""
    unknown = [label for label, name in enumerate(truth.classes) if name not in known]
    images = (dataclasses.replace(own, ignore=own.ignore | np.isin(own.labels, unknown)) for own in truth.images)
    return dataclasses.replace(truth, images=tuple(images))


def _row(truth: CocoDataset, found: DetectionSet, doubt: Doubt) -> dict[str, object]:
    """Return a doubt as a row of labels.json; boxes are x, y, width, height in pixels."""
    image = truth.images[doubt.image]
    seen, index = found[image.id], doubt.detection
    row: dict[str, object] = {
        "kind": doubt.kind,
        "suspicion": doubt.suspicion,
        "file_name": image.file_name,
        "detected": truth.classes[seen.labels[index]],
        "score": float(seen.scores[index]),
        "detected_box": _xywh(seen.boxes[index]),
    }
    if doubt.truth is not None:
        row |= {"label": truth.classes[image.labels[doubt.truth]], "box": _xywh(image.boxes[doubt.truth])}
    return row


def _xywh(box: NDArray[np.float32]) -> list[float]:
    x1, y1, x2, y2 = box.tolist()
    return [x1, y1, x2 - x1, y2 - y1]
