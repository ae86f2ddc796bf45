"""Writes SageMaker Ground Truth's augmented manifest for object detection: one JSON line for each image.

The format is that of "Bounding box job output" in AWS's documentation of Ground Truth's output data.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import IO, Any

from jobs.convert.detected import detected
from jobs.formats import BoxRecord, Record
from jobs.published_run import PublishedRun

ATTRIBUTE = "boxcar"


def write(run: PublishedRun, files: list[IO[bytes]]) -> None:
    """Write one file with the images whose status is ok; a class's id is its number in the artifact, from 0.

    Raises UsageError when a record has no size of its image, or a label that the manifest does not list.
    """
    classes = {label: number for number, label in enumerate(run.labels())}
    published = datetime.fromisoformat(run.manifest.published_at).astimezone(UTC)
    constant = {
        "type": "groundtruth/object-detection",
        "human-annotated": "no",
        "creation-date": published.replace(tzinfo=None).isoformat(),
        "job-name": f"boxcar-{run.manifest.run}",
    }
    for record, height, width in detected(run, classes):
        line = _line(record, height, width, classes, constant)
        files[0].write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


def _line(record: Record, height: int, width: int, classes: dict[str, int], constant: dict[str, str]) -> dict[str, Any]:
    return {
        "source-ref": record.image,
        ATTRIBUTE: {
            "image_size": [{"width": width, "height": height, "depth": 3}],  # every image is converted to RGB
            "annotations": [
                {"class_id": classes[box.label]} | whole_pixels(box, width, height) for box in record.boxes
            ],
        },
        f"{ATTRIBUTE}-metadata": {
            "objects": [{"confidence": box.score} for box in record.boxes],
            "class-map": _class_map(record, classes),
            **constant,
        },
    }


def _class_map(record: Record, classes: dict[str, int]) -> dict[str, str]:
    """The labels that occur in the image, by their ids."""
    numbers = {classes[box.label]: box.label for box in record.boxes}
    return {str(number): numbers[number] for number in sorted(numbers)}


def whole_pixels(box: BoxRecord, width: int, height: int) -> dict[str, int]:
    """The box with its edges moved to the nearest whole pixel, inside its image, at least one pixel wide and high."""
    left, right = _nearest(box.x, box.x + box.width, width)
    top, bottom = _nearest(box.y, box.y + box.height, height)
    return {"left": left, "top": top, "width": right - left, "height": bottom - top}


def _nearest(low: float, high: float, size: int) -> tuple[int, int]:
    """Two edges at whole pixels. Halves are rounded up, so that edges one pixel apart never meet. Only a rejected run
    has edges outside the image."""
    first = min(max(math.floor(low + 0.5), 0), size - 1)
    return first, max(min(math.floor(high + 0.5), size), first + 1)
