"""Writes COCO: a dataset with the run's images and categories, and its boxes as results or as annotations."""

from __future__ import annotations

import shutil
from typing import IO, Any

from jobs.convert.detected import unknown_label
from jobs.convert.files import BUFFER_BYTES, spool
from jobs.convert.items import Items, as_json
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
    with spool(files[0]) as boxes:
        _write(run, files[0], boxes, as_annotations=True)
        files[0].write(b'],\n"annotations": [')
        boxes.seek(0)
        shutil.copyfileobj(boxes, files[0], BUFFER_BYTES)
    files[0].write(b"]}\n")


def _write(run: PublishedRun, dataset: IO[bytes], boxes_file: IO[bytes], *, as_annotations: bool) -> None:
    """Write the dataset up to its last image, and the items of the list of boxes."""
    categories = {label: number for number, label in enumerate(run.labels(), start=1)}
    dataset.write(b'{"info": %b,\n"licenses": [],\n"categories": [' % as_json(_info(run)))
    Items(dataset).add(*({"id": number, "name": label} for label, number in categories.items()))
    dataset.write(b'],\n"images": [' if as_annotations else b'],\n"annotations": [],\n"images": [')
    images, boxes = Items(dataset), Items(boxes_file)
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
