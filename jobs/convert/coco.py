"""Writes COCO: a dataset with the run's images and categories, and its boxes as results or as annotations."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any

from jobs.convert.files import BUFFER_BYTES
from jobs.errors import UsageError
from jobs.published_run import PublishedRun


def write(run: PublishedRun, files: list[IO[bytes]]) -> None:
    """Write the dataset, without annotations, to the first of `files` and the results to the second.

    Both have only images with status ok. An image's id is the number of its record in the run, from 1; a category's id
    is the number of its class in the artifact, from 1. Raises UsageError when a box has a label that the manifest does
    not list.
    """
    dataset, results = files
    results.write(b"[")
    _write(run, dataset, results, as_annotations=False)
    dataset.write(b"]}\n")
    results.write(b"]\n")


def write_annotations(run: PublishedRun, files: list[IO[bytes]]) -> None:
    """Write one file: the dataset of `write`, with the boxes and their scores as annotations, whose ids are 1, 2, ...

    Raises UsageError as `write` does.
    """
    # The boxes wait on the disk of the result until all images are written, so that memory does not grow with the run.
    with tempfile.TemporaryFile(dir=Path(files[0].name).parent, buffering=BUFFER_BYTES) as boxes:
        _write(run, files[0], boxes, as_annotations=True)
        files[0].write(b'],\n"annotations": [')
        boxes.seek(0)
        shutil.copyfileobj(boxes, files[0], BUFFER_BYTES)
    files[0].write(b"]}\n")


def _write(run: PublishedRun, dataset: IO[bytes], boxes_file: IO[bytes], *, as_annotations: bool) -> None:
    """Write the dataset up to its last image, and the items of the list of boxes."""
    categories = {label: number for number, label in enumerate(run.labels(), start=1)}
    dataset.write(b'{"info": %b,\n"licenses": [],\n"categories": [' % _json(_info(run)))
    _Items(dataset).add(*({"id": number, "name": label} for label, number in categories.items()))
    dataset.write(b'],\n"images": [' if as_annotations else b'],\n"annotations": [],\n"images": [')
    images, boxes = _Items(dataset), _Items(boxes_file)
    for number, record in enumerate(run.records(), start=1):
        if record.status != "ok":
            continue
        key = run.key(record)
        images.add(
            {"id": number, "file_name": key, "width": record.width, "height": record.height, "coco_url": record.image}
        )
        for box in record.boxes:
            category = categories.get(box.label)
            if category is None:
                raise unknown_label(run, box.label)
            edges = [box.x, box.y, box.width, box.height]
            item = {"image_id": number, "category_id": category, "bbox": edges, "score": box.score}
            if as_annotations:  # some importers ask for a segmentation
                more = {"area": box.width * box.height, "iscrowd": 0, "segmentation": []}
                item = {"id": boxes.count + 1, **item, **more}
            boxes.add(item)


def unknown_label(run: PublishedRun, label: str) -> UsageError:
    """An error for a label that the manifest does not list, although the records agree with its digests."""
    return UsageError(
        f"{run.store.uri}manifest.json: lists no label {label!r}, which a box has; publish the run again with: "
        f"boxcar finish {run.store.uri}"
    )


def _info(run: PublishedRun) -> dict[str, Any]:
    manifest = run.manifest
    return {
        "description": f"Images of Boxcar's run {manifest.run}, {manifest.status}",
        "version": manifest.run,
        "date_created": manifest.published_at,
        "status": manifest.status,
        "input": manifest.input,
        "plan_digest": manifest.lineage.plan_digest,
        "artifact": manifest.lineage.artifact_name,
        "artifact_sha256": manifest.lineage.artifact_sha256,
        "min_score": manifest.min_score,
    }


class _Items:
    """Writes the items of a JSON list one by one; the caller writes the brackets."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._before = b"\n"
        self.count = 0

    def add(self, *items: dict[str, Any]) -> None:
        for item in items:
            self._file.write(self._before + _json(item))
            self._before = b",\n"
            self.count += 1


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
