"""Writes "CVAT for images 1.1": one XML file with all images and their boxes, and the labels of the task.

CVAT's pixels are those of Boxcar: an edge is a distance from the image's upper left corner.
"""

from __future__ import annotations

import json
from typing import IO
from xml.etree.ElementTree import Element

from jobs.convert.detected import detected
from jobs.convert.markup import add, encoded
from jobs.formats import BoxRecord
from jobs.published_run import PublishedRun

# A text, because CVAT's numbers are whole.
_SCORE = {"name": "score", "mutable": False, "input_type": "text", "default_value": "", "values": [""]}


def write(run: PublishedRun, files: list[IO[bytes]]) -> None:
    """Write the boxes to the first of `files`, and to the second the labels, for the tab "Raw" of CVAT's labels.

    Only images with status ok are there. An image's name is its key below INPUT; its id counts from 0. A box's score is
    its attribute `score`; <boxcar> in the head names run, artifact and plan. Raises UsageError when a record has no
    size of its image, or a label that the manifest does not list.
    """
    classes = run.labels()
    boxes, labels = files
    boxes.write(b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
    boxes.write(encoded(_head(run, classes), level=1))
    document = Element("annotations")
    for number, (record, height, width) in enumerate(detected(run, classes)):
        image = add(document, "image", id=number, name=run.key(record), width=width, height=height)
        for box in record.boxes:
            _add_box(image, box)
        boxes.write(encoded(image, level=1))
        document.clear()
    boxes.write(b"</annotations>\n")
    made = [{"name": label, "type": "rectangle", "attributes": [_SCORE]} for label in classes]
    labels.write(json.dumps(made, ensure_ascii=False, indent=2).encode() + b"\n")


def _add_box(image: Element, box: BoxRecord) -> None:
    edges = {"xtl": box.x, "ytl": box.y, "xbr": box.x + box.width, "ybr": box.y + box.height}
    shape = add(image, "box", label=box.label, source="auto", occluded=0, **edges, z_order=0)
    add(shape, "attribute", box.score).set("name", "score")


def _head(run: PublishedRun, classes: list[str]) -> Element:
    manifest, lineage = run.manifest, run.manifest.lineage
    meta = Element("meta")
    task = add(meta, "task")
    add(task, "name", f"Boxcar, run {manifest.run}")
    add(task, "size", manifest.statuses.get("ok", 0))
    add(task, "mode", "annotation")
    labels = add(task, "labels")
    for name in classes:
        label = add(labels, "label")
        add(label, "name", name)
        add(label, "type", "rectangle")
        attribute = add(add(label, "attributes"), "attribute")
        for tag in ("name", "mutable", "input_type", "default_value"):
            add(attribute, tag, _SCORE[tag])
        add(attribute, "values")
    origin = add(meta, "boxcar")
    add(origin, "run", manifest.run)
    add(origin, "status", manifest.status)
    add(origin, "input", manifest.input)
    add(origin, "plan_digest", lineage.plan_digest)
    add(origin, "artifact", lineage.artifact_name)
    add(origin, "artifact_sha256", lineage.artifact_sha256)
    add(meta, "dumped", manifest.published_at)
    return meta
