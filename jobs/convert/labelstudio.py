"""Writes Label Studio's tasks with predictions, and the labelling configuration that they belong to.

Numbers are percent of the image's sides.
"""

from __future__ import annotations

from statistics import fmean
from typing import IO, Any
from urllib.parse import quote
from xml.etree.ElementTree import Element

from jobs.convert.detected import detected
from jobs.convert.items import Items
from jobs.convert.markup import add, encoded
from jobs.formats import BoxRecord, Record
from jobs.published_run import PublishedRun

# The names of the tags in the configuration, to which results refer.
IMAGE, BOXES = "image", "label"


def write(run: PublishedRun, files: list[IO[bytes]]) -> None:
    """Write the tasks to the first of `files` and the configuration to the second.

    Only images with status ok are there; one without boxes has a prediction without regions. A prediction's score, by
    which Label Studio can sort tasks, is the mean of its boxes' scores. Raises UsageError when a record has no size of
    its image, or a label that the manifest does not list.
    """
    tasks, configuration = files
    labels = run.labels()
    lineage = run.manifest.lineage
    model = f"{lineage.artifact_name} {lineage.artifact_sha256[:8]}"
    tasks.write(b"[")
    items = Items(tasks)
    for record, height, width in detected(run, labels):
        items.add(_task(run, record, height, width, model))
    tasks.write(b"]\n")
    configuration.write(encoded(_configuration(labels)))


def _task(run: PublishedRun, record: Record, height: int, width: int, model: str) -> dict[str, Any]:
    prediction: dict[str, Any] = {"model_version": model}
    if record.boxes:
        prediction["score"] = round(fmean(box.score for box in record.boxes), 4)
    prediction["result"] = [_region(number, box, height, width) for number, box in enumerate(record.boxes, start=1)]
    lineage = run.manifest.lineage
    data = {
        IMAGE: _address(record.image),
        "etag": record.etag,
        "run": record.run,
        "plan_digest": lineage.plan_digest,
        "artifact_sha256": lineage.artifact_sha256,
    }
    return {"data": data, "predictions": [prediction]}


def _region(number: int, box: BoxRecord, height: int, width: int) -> dict[str, Any]:
    return {
        "id": f"box-{number}",
        "from_name": BOXES,
        "to_name": IMAGE,
        "type": "rectanglelabels",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": box.score,
        "value": {
            "x": box.x / width * 100,
            "y": box.y / height * 100,
            "width": box.width / width * 100,
            "height": box.height / height * 100,
            "rotation": 0,
            "rectanglelabels": [box.label],
        },
    }


def _address(image: str) -> str:
    """The image's URI in S3, which Label Studio reads from a connected bucket; of a file the address under which Label
    Studio serves it."""
    return image if image.startswith("s3://") else f"/data/local-files/?d={quote(image.lstrip('/'))}"


def _configuration(labels: list[str]) -> Element:
    view = Element("View")
    add(view, "Image", name=IMAGE, value=f"${IMAGE}")
    choice = add(view, "RectangleLabels", name=BOXES, toName=IMAGE)
    for label in labels:
        add(choice, "Label", value=label)
    return view
