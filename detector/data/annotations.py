"""The internal dataset: COCO JSON on disk, frozen arrays in memory.

`file_name` is relative to the folder `images/` beside the JSON file. Image, annotation and category ids start at 1:
the COCO evaluators read a match with annotation 0 as no match. VOC's "difficult" is written as `ignore`, never as
`iscrowd`: a crowd may swallow any number of detections, a difficult object is one object.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.common.errors import AnnotationError
from detector.runtime.geometry.boxes import Boxes


@dataclass(frozen=True, eq=False)
class ImageInfo:
    """One image and its truths, in the frame after the EXIF orientation.

    boxes: float32 (N, 4) xyxy; labels: int64 (N,), indices into the dataset's classes; ignore, crowd: bool (N,).
    An ignored truth is neither to be found nor wrong to find; a crowd is a region of many objects.
    """

    id: int
    file_name: str
    width: int
    height: int
    boxes: Boxes
    labels: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    crowd: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CocoDataset:
    """Classes in label order, and images. `category_ids` are the classes' ids on disk; () stands for 1, 2, ..."""

    classes: tuple[str, ...]
    images: tuple[ImageInfo, ...]
    category_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.category_ids:
            object.__setattr__(self, "category_ids", tuple(range(1, len(self.classes) + 1)))


def _number(value: float) -> int | float:
    """12.0 -> 12: whole numbers without a fraction keep the JSON short and the same whatever wrote it."""
    return int(value) if value == int(value) else float(value)


def save_coco(dataset: CocoDataset, path: Path) -> None:
    """Write COCO JSON: compact, keys sorted, images by id, so that equal datasets are equal bytes.

    Widths are differences in float64, which `load_coco` adds back: float32 corners survive the trip exactly.
    """
    annotations: list[dict[str, Any]] = []
    images = sorted(dataset.images, key=lambda image: image.id)
    for image in images:
        for box, label, ignore, crowd in zip(
            image.boxes.astype(np.float64).tolist(), image.labels, image.ignore, image.crowd, strict=True
        ):
            x, y, width, height = box[0], box[1], box[2] - box[0], box[3] - box[1]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image.id,
                    "category_id": dataset.category_ids[label],
                    "bbox": [_number(value) for value in (x, y, width, height)],
                    "area": _number(width * height),
                    "ignore": int(ignore),
                    "iscrowd": int(crowd),
                }
            )
    document = {
        "categories": [
            {"id": number, "name": name} for number, name in zip(dataset.category_ids, dataset.classes, strict=True)
        ],
        "images": [
            {"id": image.id, "file_name": image.file_name, "width": image.width, "height": image.height}
            for image in images
        ],
        "annotations": annotations,
    }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    path.write_bytes(text.encode() + b"\n")


class _Reader:
    """Typed access to one COCO document; every complaint begins with the file's name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, reason: str) -> AnnotationError:
        return AnnotationError(f"{self.path}: {reason}")

    def document(self) -> dict[str, Any]:
        try:
            document = json.loads(self.path.read_bytes())
        except FileNotFoundError as error:
            raise self.fail("there is no such file") from error
        except (ValueError, RecursionError) as error:  # bad UTF-8 is a ValueError too
            raise self.fail(f"is not JSON ({error})") from error
        if not isinstance(document, dict):
            raise self.fail("is not a COCO document: the top level must be an object")
        return document

    def rows(self, document: dict[str, Any], key: str) -> list[dict[str, Any]]:
        if key not in document:
            raise self.fail(f"the key '{key}' is missing")
        rows = document[key]
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self.fail(f"'{key}' must be a list of objects")
        return rows

    def whole(self, row: dict[str, Any], key: str, where: str, least: int = 0) -> int:
        if key not in row:
            raise self.fail(f"{where} has no '{key}'")
        value = row[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.fail(f"{where}: '{key}' must be a whole number of at least {least}, not {value!r}")
        return value

    def text(self, row: dict[str, Any], key: str, where: str) -> str:
        value = row.get(key)
        if not isinstance(value, str) or not value:
            raise self.fail(f"{where} has no '{key}' (a text)")
        return value

    def flag(self, row: dict[str, Any], key: str, where: str) -> bool:
        value = row.get(key, 0)
        if value not in (0, 1):
            raise self.fail(f"{where}: '{key}' must be 0 or 1, not {value!r}")
        return bool(value)

    def box(self, row: dict[str, Any], where: str) -> list[float]:
        value = row.get("bbox")
        if (
            not isinstance(value, list)
            or len(value) != 4
            or not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in value)
        ):
            raise self.fail(f"{where}: 'bbox' must be four finite numbers, not {value!r}")
        x, y, width, height = map(float, value)
        if width < 0 or height < 0:
            raise self.fail(f"{where}: 'bbox' has a negative size: {value}")
        return [x, y, x + width, y + height]


def _check_file_name(reader: _Reader, name: str, where: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise reader.fail(f"{where}: file_name {name!r} must stay inside the image folder")


def load_coco(path: Path) -> CocoDataset:
    """Read COCO JSON from any writer; classes in the order of their category ids, images in the order of theirs.

    Boxes are as written (not clipped); `ignore` and `iscrowd` default to 0, other keys are not read.
    Raises AnnotationError, naming the file and the entry: not JSON, a missing key, a value of the wrong kind, an
    id or class name given twice, a category or an image that is not listed, a box that is not four finite numbers.
    """
    reader = _Reader(path)
    document = reader.document()

    names: dict[int, str] = {}
    for row in reader.rows(document, "categories"):
        number = reader.whole(row, "id", "a category")
        name = reader.text(row, "name", f"category {number}")
        if number in names or name in names.values():
            raise reader.fail(f"category {number} ({name}) is listed twice")
        names[number] = name
    category_ids = tuple(sorted(names))
    label_of = {number: label for label, number in enumerate(category_ids)}

    images: dict[int, tuple[str, int, int]] = {}
    seen_names: set[str] = set()
    for row in reader.rows(document, "images"):
        number = reader.whole(row, "id", "an image")
        where = f"image {number}"
        name = reader.text(row, "file_name", where)
        _check_file_name(reader, name, where)
        if number in images or name in seen_names:
            raise reader.fail(f"image {number} ({name}) is listed twice")
        seen_names.add(name)
        images[number] = (name, reader.whole(row, "width", where, 1), reader.whole(row, "height", where, 1))

    seen_annotations: set[int] = set()
    truths: dict[int, list[tuple[list[float], int, bool, bool]]] = {number: [] for number in images}
    for row in reader.rows(document, "annotations"):
        number = reader.whole(row, "id", "an annotation")
        where = f"annotation {number}"
        if number in seen_annotations:
            raise reader.fail(f"{where} is listed twice")
        seen_annotations.add(number)
        image_id = reader.whole(row, "image_id", where)
        if image_id not in truths:
            raise reader.fail(f"{where} belongs to image {image_id}, which is not listed")
        category = reader.whole(row, "category_id", where)
        if category not in label_of:
            raise reader.fail(f"{where} has category {category}, which is not listed")
        truths[image_id].append(
            (
                reader.box(row, where),
                label_of[category],
                reader.flag(row, "ignore", where),
                reader.flag(row, "iscrowd", where),
            )
        )

    return CocoDataset(
        classes=tuple(names[number] for number in category_ids),
        images=tuple(
            ImageInfo(
                id=number,
                file_name=name,
                width=width,
                height=height,
                boxes=np.array([truth[0] for truth in truths[number]], np.float64).reshape(-1, 4).astype(np.float32),
                labels=np.array([truth[1] for truth in truths[number]], np.int64),
                ignore=np.array([truth[2] for truth in truths[number]], np.bool_),
                crowd=np.array([truth[3] for truth in truths[number]], np.bool_),
            )
            for number, (name, width, height) in sorted(images.items())
        ),
        category_ids=category_ids,
    )
