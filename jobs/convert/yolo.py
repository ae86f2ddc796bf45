"""Writes YOLO's text files, as Ultralytics reads them, in a ZIP file.

labels/NAME.txt has a line `class x y width height` for each box of an image, in parts of the image's sides; x and y are
those of the box's centre. NAME is the image's key below INPUT without its extension, escaped as jobs/convert/names.py
says. data.yaml names the classes, and images.csv says which image belongs to which name.
"""

from __future__ import annotations

import csv
from io import TextIOWrapper
from typing import IO

from jobs.convert.archive import archive
from jobs.convert.detected import detected, edges_inside
from jobs.convert.files import spool
from jobs.convert.names import Names
from jobs.convert.table import plain
from jobs.formats import BoxRecord
from jobs.published_run import PublishedRun

COLUMNS = ("file", "image", "etag", "image_width", "image_height")


def write(run: PublishedRun, files: list[IO[bytes]]) -> None:
    """Write one file with the images whose status is ok; the label file of an image without boxes is empty.

    A class's number is that in the artifact, from 0. The format has no place for scores. Raises UsageError when a
    record has no size of its image, or a label that the manifest does not list.
    """
    classes = {label: number for number, label in enumerate(run.labels())}
    names = Names()
    with archive(files[0]) as made, spool(files[0]) as listed:
        made.add("data.yaml", _description(run, list(classes)))
        table = TextIOWrapper(listed, encoding="utf-8", newline="")
        rows = csv.writer(table)
        rows.writerow(COLUMNS)
        for record, height, width in detected(run, classes):
            name, extension = names.name(run.key(record))
            lines = [f"{classes[box.label]} {_fractions(box, height, width)}\n" for box in record.boxes]
            made.add(_label_file(name), "".join(lines).encode())
            rows.writerow((f"images/{name}{extension}", record.image, plain(record.etag or ""), width, height))
        table.detach()
        made.add_file("images.csv", listed)


def _label_file(name: str) -> str:
    """The path of the labels of images/NAME: readers look in labels/ in the place of the last images/ of its path."""
    *folders, stem = f"images/{name}".split("/")
    last = len(folders) - 1 - folders[::-1].index("images")
    return "/".join([*folders[:last], "labels", *folders[last + 1 :], f"{stem}.txt"])


def _fractions(box: BoxRecord, height: int, width: int) -> str:
    """Centre and sides. Ten digits tell sixteenths of a pixel apart on sides of up to a hundred million pixels."""
    left, top, right, bottom = edges_inside(box, height, width)
    values = ((left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height)
    return " ".join(f"{value:.10f}" for value in values)


def _description(run: PublishedRun, labels: list[str]) -> bytes:
    lineage = run.manifest.lineage
    return "".join(
        [
            f"# Boxes of Boxcar's run {run.manifest.run}, {run.manifest.status}\n",
            f"# plan {lineage.plan_digest}\n",
            f"# artifact {lineage.artifact_sha256}\n",
            # A folder below the one of this file. Validation on the images of training would mislead.
            "train: images\n# val: your own images; Ultralytics asks for them\n",
            "names:\n" if labels else "names: {}\n",
            *(f"  {number}: {_quoted(label)}\n" for number, label in enumerate(labels)),
        ]
    ).encode()


def _quoted(label: str) -> str:
    """The label in YAML. ASCII alone, because some readers open the file in the system's encoding."""
    escaped = label.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return f'"{escaped}"'
