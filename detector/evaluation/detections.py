"""Detections of a whole dataset, in memory and as COCO results JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from detector.common.errors import AnnotationError
from detector.data.annotations import CocoDataset
from detector.runtime.geometry.boxes import empty
from detector.runtime.postprocess import Detections

# By image id; an image that is not a key has no detections. Within an image, any order.
DetectionSet = Mapping[int, Detections]


def no_detections() -> Detections:
    """What was found in an image where nothing was found."""
    return Detections(empty(), np.zeros(0, np.float64), np.zeros(0, np.int64))


def check_detections(truth: CocoDataset, detections: DetectionSet) -> None:
    """Raises AnnotationError if a detection lies in an image, or has a label, that `truth` does not list."""
    unknown = sorted(set(detections) - {image.id for image in truth.images})
    if unknown:
        raise AnnotationError(f"there are detections in image {unknown[0]}, which the ground truth does not list")
    for image_id, found in detections.items():
        if len(found.labels) and not 0 <= found.labels.min() <= found.labels.max() < len(truth.classes):
            raise AnnotationError(
                f"a detection in image {image_id} has a label beyond the {len(truth.classes)} classes"
            )


def save_results(detections: DetectionSet, truth: CocoDataset, path: Path) -> None:
    """Write a COCO results array: images by id, each image's detections in their order; category ids of `truth`."""
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


def load_results(path: Path, truth: CocoDataset) -> dict[int, Detections]:
    """Read a COCO results array of boxes for the images of `truth`.

    Raises AnnotationError naming the file and the entry: not JSON, not an array of objects, a missing or wrong value,
    an image or a category that `truth` does not list.
    """
    try:
        rows = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise AnnotationError(f"{path}: there is no such file") from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: is not JSON ({error})") from error
    if not isinstance(rows, list):
        raise AnnotationError(f"{path}: is not a COCO results file: the top level must be an array")
    label_of = {number: label for label, number in enumerate(truth.category_ids)}
    image_ids = {image.id for image in truth.images}
    found: dict[int, list[tuple[list[float], float, int]]] = {}
    for number, row in enumerate(rows):
        try:
            image_id, category = row["image_id"], row["category_id"]
            known_image, known_category = image_id in image_ids, category in label_of
            # Only numbers add to 0.0: float() would take texts as well.
            x, y, width, height = (0.0 + value for value in row["bbox"])
            score = 0.0 + row["score"]
        except (TypeError, KeyError, ValueError) as error:
            raise AnnotationError(
                f"{path}: entry {number} needs image_id, category_id, bbox (four numbers) and score ({error!r})"
            ) from error
        if not known_image:
            raise AnnotationError(
                f"{path}: entry {number} is in image {image_id!r}, which the ground truth does not list"
            )
        if not known_category:
            raise AnnotationError(
                f"{path}: entry {number} has category {category!r}, which the ground truth does not list"
            )
        if not all(map(math.isfinite, (x, y, width, height, score))) or width < 0 or height < 0:
            raise AnnotationError(f"{path}: entry {number} has a box or a score that is not finite, or a negative size")
        found.setdefault(image_id, []).append(([x, y, x + width, y + height], score, label_of[category]))
    return {
        image_id: Detections(
            np.array([box for box, _, _ in entries], np.float64).astype(np.float32),
            np.array([score for _, score, _ in entries], np.float64),
            np.array([label for _, _, label in entries], np.int64),
        )
        for image_id, entries in found.items()
    }
