"""Writes PASCAL VOC's XML (Everingham et al. 2010), one file an image, in a ZIP file with the folders of a devkit.

Edges are 1-based and inclusive, as VOC counts: a box over the first pixel alone is 1, 1, 1, 1. So x and y grow by one,
and the other two edges stay. They keep their sixteenths of a pixel. A box that is narrower or lower than a pixel is
widened to one, because readers exchange or refuse a maximum below its minimum.
"""

from __future__ import annotations

from typing import IO
from xml.etree.ElementTree import Element

from jobs.convert.archive import archive
from jobs.convert.detected import detected, edges_inside
from jobs.convert.files import spool
from jobs.convert.markup import add, encoded
from jobs.convert.names import Names
from jobs.formats import BoxRecord, Record
from jobs.published_run import PublishedRun


def write(run: PublishedRun, files: list[IO[bytes]]) -> None:
    """Write one file with the images whose status is ok: Annotations/NAME.xml, where NAME is the image's key below
    INPUT without its extension, escaped as jobs/convert/names.py says, a list of the names in
    ImageSets/Main/default.txt, and one of the classes in labelmap.txt.

    Scores are attributes as CVAT and Datumaro write them; <source> names run, artifact and image. Raises UsageError
    when a record has no size of its image, or a label that the manifest does not list.
    """
    labels = run.labels()
    names = Names()
    with archive(files[0]) as made, spool(files[0]) as listed:
        # CVAT and Datumaro know VOC's own classes only, unless this file lists others: name, colour, parts, actions. It
        # cannot hold a name with a colon.
        made.add("labelmap.txt", "".join(f"{label}:::\n" for label in labels if ":" not in label).encode())
        for record, height, width in detected(run, labels):
            name, extension = names.name(run.key(record))
            root = _annotation(run, record, f"JPEGImages/{name}{extension}", height, width)
            made.add(f"Annotations/{name}.xml", encoded(root))
            listed.write(f"{name}\n".encode())
        made.add_file("ImageSets/Main/default.txt", listed)


def _annotation(run: PublishedRun, record: Record, path: str, height: int, width: int) -> Element:
    root = Element("annotation")
    folder, _, file = path.rpartition("/")
    add(root, "folder", folder)
    add(root, "filename", file)
    source = add(root, "source")
    lineage = run.manifest.lineage
    add(source, "database", f"Boxcar, run {record.run}")
    add(source, "annotation", f"{lineage.artifact_name}, {lineage.artifact_sha256}")
    add(source, "image", record.image)
    add(source, "etag", record.etag or "")
    size = add(root, "size")
    for tag, value in (("width", width), ("height", height), ("depth", 3)):  # every image is converted to RGB
        add(size, tag, value)
    add(root, "segmented", 0)
    for box in record.boxes:
        _add_object(root, box, height, width)
    return root


def _add_object(root: Element, box: BoxRecord, height: int, width: int) -> None:
    thing = add(root, "object")
    add(thing, "name", box.label)
    add(thing, "pose", "Unspecified")
    add(thing, "truncated", 0)
    add(thing, "difficult", 0)
    left, top, right, bottom = edges_inside(box, height, width)
    (xmin, xmax), (ymin, ymax) = _inclusive(left, right), _inclusive(top, bottom)
    edges = add(thing, "bndbox")
    for tag, value in (("xmin", xmin), ("ymin", ymin), ("xmax", xmax), ("ymax", ymax)):
        add(edges, tag, value)
    attribute = add(add(thing, "attributes"), "attribute")
    add(attribute, "name", "score")
    add(attribute, "value", box.score)


def _inclusive(low: float, high: float) -> tuple[float, float]:
    """The first and the last pixel, from 1, of an extent between two edges inside the image."""
    return max(min(low, high - 1), 0.0) + 1, max(high, 1.0)
