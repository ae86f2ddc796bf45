"""Detections of a whole dataset, in memory and as a COCO results file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FailFast, FiniteFloat, TypeAdapter

from detector.common.errors import AnnotationError
from detector.data.annotations import CocoBox, CocoDataset, read_json
from detector.runtime.geometry.boxes import empty
from detector.runtime.postprocess import Detections


@dataclass(frozen=True)
class ExactDetections(Detections):
    """Detections whose boxes are also known as a file has them: xywh, float64 (K, 4)."""

    xywh: NDArray[np.float64]


# Detections by image id. An image that is not a key has none; within an image they are in any order.
DetectionSet = Mapping[int, Detections]


class _Result(BaseModel):
    model_config = ConfigDict(strict=True)

    image_id: int
    category_id: int
    bbox: CocoBox
    score: FiniteFloat


_RESULTS = TypeAdapter(Annotated[list[_Result], FailFast()])


def no_detections() -> Detections:
    """Return empty detections, for an image where nothing was found."""
    return Detections(empty(), np.zeros(0, np.float64), np.zeros(0, np.int64))


def check_detections(truth: CocoDataset, detections: DetectionSet) -> None:
    """Raise AnnotationError if a detection has an image or a label that `truth` does not list."""
    unknown = sorted(set(detections) - {image.id for image in truth.images})
    if unknown:
        raise AnnotationError(f"there are detections in image {unknown[0]}, which the ground truth does not list")
    for image_id, found in detections.items():
        if len(found.labels) and not 0 <= found.labels.min() <= found.labels.max() < len(truth.classes):
            raise AnnotationError(
                f"a detection in image {image_id} has a label beyond the {len(truth.classes)} classes"
            )


def save_results(detections: DetectionSet, truth: CocoDataset, path: Path) -> None:
    """Write a COCO results array, sorted by image id, with the category ids of `truth`; an image keeps its order."""
    rows: list[dict[str, Any]] = []
    for image_id in sorted(detections):
        found = detections[image_id]
        for box, score, label in zip(found.boxes.astype(np.float64).tolist(), found.scores, found.labels, strict=True):
            rows.append(
                {
                    "image_id": image_id,
                    "category_id": truth.category_ids[label],
                    "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    "score": float(score),
                }
            )
    path.write_text(json.dumps(rows, separators=(",", ":")) + "\n", "utf-8")


def load_results(path: Path, truth: CocoDataset) -> dict[int, ExactDetections]:
    """Read a COCO results array of boxes for the images of `truth`.

    Raises AnnotationError, which names the file and the entry: the file is not JSON, it is not an array of objects, a
    value is missing or wrong, or `truth` does not list an image or a category.
    """
    label_of = {number: label for label, number in enumerate(truth.category_ids)}
    image_ids = {image.id for image in truth.images}
    found: dict[int, list[_Result]] = {}
    results = read_json(path, _RESULTS)
    for number, row in enumerate(results):
        if row.image_id not in image_ids:
            raise AnnotationError(
                f"{path}: entry {number} is in image {row.image_id}, which the ground truth does not list"
            )
        if row.category_id not in label_of:
            raise AnnotationError(
                f"{path}: entry {number} has category {row.category_id}, which the ground truth does not list"
            )
        found.setdefault(row.image_id, []).append(row)
    return {image_id: _detections(rows, label_of) for image_id, rows in found.items()}


def _detections(rows: list[_Result], label_of: Mapping[int, int]) -> ExactDetections:
    xywh = np.array([row.bbox for row in rows], np.float64)
    boxes = xywh.copy()
    boxes[:, 2:] += boxes[:, :2]
    return ExactDetections(
        boxes.astype(np.float32),
        np.array([row.score for row in rows], np.float64),
        np.array([label_of[row.category_id] for row in rows], np.int64),
        xywh,
    )
