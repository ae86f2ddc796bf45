"""Reads Label Studio's export "JSON": a list of tasks with annotations.

Numbers are percent of the image as it was shown, upright; `original_width` and `original_height` are its size.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter, ValidationError

from detector.common.errors import AnnotationError
from detector.common.s3_names import bucket_and_key
from detector.data.annotations import group_of, read_json
from detector.data.frames import FrameRules
from detector.data.places import IMAGE_SUFFIXES, Places, image_file, shown
from detector.data.settings import LabelStudioSource
from detector.data.stated import NO_BOXES, POLYGONS, ROTATED, Box, Drawn, Stated, Thing, around, rotated, state

_UNLABELLED = "{} task(s) have no finished annotation, only predictions or skipped ones at most, and were left out"
_SEVERAL = "{} task(s) have several annotations: the one marked as ground truth was taken, or else the last one"
_PERCENT = 100.0


class _Value(BaseModel):
    x: FiniteFloat | None = None
    y: FiniteFloat | None = None
    width: FiniteFloat | None = None
    height: FiniteFloat | None = None
    radiusX: FiniteFloat | None = None
    radiusY: FiniteFloat | None = None
    rotation: FiniteFloat = 0.0
    points: list[Any] | None = None  # a vector's are no pairs
    rectanglelabels: list[str] = []
    polygonlabels: list[str] = []
    ellipselabels: list[str] = []
    labels: list[str] = []

    def names(self) -> list[str]:
        return [*self.rectanglelabels, *self.polygonlabels, *self.ellipselabels, *self.labels]


class _Region(BaseModel):
    id: str | None = None
    type: str = ""
    value: _Value = _Value()  # a relation has none
    original_width: int = Field(default=0, ge=0)
    original_height: int = Field(default=0, ge=0)
    image_rotation: float | None = None


class _Annotation(BaseModel):
    result: list[_Region] = []
    was_cancelled: bool = False
    ground_truth: bool | None = None
    updated_at: str | None = None


class _Task(BaseModel):
    id: int | str = 0
    data: dict[str, Any]
    annotations: list[_Annotation] | None = None


_TASKS = TypeAdapter(list[_Task])
_POINTS = TypeAdapter(list[tuple[FiniteFloat, FiniteFloat]])
# What draws an object on an image; other results (choices, ratings, texts, relations) speak of the image or of these.
_BOXED = frozenset({"rectangle", "rectanglelabels", "polygon", "polygonlabels", "ellipse", "ellipselabels"})
_UNBOXED = frozenset(
    {"brush", "brushlabels", "keypoint", "keypointlabels", "vector", "vectorlabels", "bitmask", "bitmasklabels"}
)


def read(source: LabelStudioSource, places: Places, seed: int, rules: FrameRules) -> dict[str, Stated]:
    """Read all tasks of the export."""
    notes: Counter[str] = Counter()
    drawn: dict[Path, Drawn] = {}
    for root in places.roots(source):
        for path in export_files(root):
            folder = Path(source.images) if source.images else path.parent
            for task in read_json(path, _TASKS):
                if (image := _task(path, folder, task, notes, source.group_field)) is None:
                    continue
                if image.path in drawn:
                    raise AnnotationError(f"{path}: task {task.id}: another task has the image {image.path} too")
                drawn[image.path] = image
    if not drawn:
        raise AnnotationError(f"{source.name()}: no task has a finished annotation")
    return {"train": state(source.name(), list(drawn.values()), notes)}


def recognise(data: Path) -> dict[str, Any] | None:
    """Return the settings of a source that reads `data`, or None if it is not of this format."""
    files = [data] if data.is_file() else shown(data, "*.json")
    return {"data": str(data)} if any(path.suffix == ".json" and _is_export(path) for path in files) else None


def _is_export(path: Path) -> bool:
    """Return whether a file lists tasks, of JSON or of JSON-MIN, which `read` refuses with advice.

    A list of anything else, such as the names of classes, belongs to another tool.
    """
    try:
        text = path.read_text("utf-8-sig")
        content = json.loads(text) if text.lstrip().startswith("[") else []
    except ValueError:
        return False
    return any(isinstance(task, dict) and ("data" in task or "annotation_id" in task) for task in content)


def export_files(root: Path) -> list[Path]:
    """Return the JSON files of an export."""
    if root.is_file():
        return [root]
    if not (found := shown(root, "*.json")):
        raise AnnotationError(f"{root}: holds no JSON: export from Label Studio as JSON")
    return found


def _task(path: Path, folder: Path, task: _Task, notes: Counter[str], group_field: str | None) -> Drawn | None:
    if task.annotations is None:
        raise AnnotationError(
            f'{path}: task {task.id} has no `annotations`: this is not the export "JSON", perhaps JSON-MIN: '
            "export again as JSON"
        )
    finished = [annotation for annotation in task.annotations if not annotation.was_cancelled]
    if not finished:
        notes[_UNLABELLED] += 1
        return None
    notes[_SEVERAL] += len(finished) > 1
    # ISO times sort as texts.
    chosen = max(finished, key=lambda annotation: (bool(annotation.ground_truth), annotation.updated_at or ""))
    where = f"{path}: task {task.id}"
    image, name = _image(where, folder, task.data)
    sizes = {(region.original_width, region.original_height) for region in chosen.result if region.type in _BOXED}
    if len(sizes) > 1 or (0, 0) in sizes:
        raise AnnotationError(f"{where}: original_width and original_height must be the same for all its regions")
    width, height = next(iter(sizes), (0, 0))
    group = group_of(f"{where}: its data", task.data, group_field)
    return Drawn(image, name, width, height, _things(where, chosen.result, width, height, notes), group)


def _things(where: str, regions: list[_Region], width: int, height: int, notes: Counter[str]) -> list[Thing]:
    """Return the objects. A region and its labels may be two results with one id."""
    labels_of: dict[str | None, list[str]] = {}
    for region in regions:
        labels_of.setdefault(region.id, []).extend(region.value.names())
    things = []
    for region in regions:
        value = region.value
        notes[NO_BOXES] += region.type in _UNBOXED
        if region.type not in _BOXED:
            continue
        if (region.image_rotation or 0) % 360:
            raise AnnotationError(
                f"{where}: the image was turned by {region.image_rotation:g} degrees in Label Studio: turn the file "
                "itself and draw its boxes again"
            )
        names = value.names() or labels_of[region.id]
        if not names:
            raise AnnotationError(f"{where}: region {region.id} has no label")
        box, centre = _box(where, region, value, width, height)
        turned = value.rotation % 360 != 0
        if turned:
            box = rotated(box, value.rotation, centre)
            notes[ROTATED] += 1
        elif not region.type.startswith("rectangle"):
            notes[POLYGONS] += 1
        # Where several labels may be chosen, each is an object of its own.
        things += [Thing(name, box, turned) for name in dict.fromkeys(names)]
    return things


def _box(where: str, region: _Region, value: _Value, width: int, height: int) -> tuple[Box, tuple[float, float]]:
    """Return the box in pixels and the point around which it is turned."""
    across, down = width / _PERCENT, height / _PERCENT
    match value:
        case _Value(points=[_, _, *_] as points):
            try:
                box = around((x * across, y * down) for x, y in _POINTS.validate_python(points))
            except ValidationError as error:
                raise AnnotationError(f"{where}: region {region.id} has points that are no pairs of numbers") from error
            centre = box[:2]
        case _Value(x=float(x), y=float(y), radiusX=float(a), radiusY=float(b)):
            box = ((x - a) * across, (y - b) * down, (x + a) * across, (y + b) * down)
            centre = x * across, y * down
        case _Value(x=float(x), y=float(y), width=float(w), height=float(h)):
            box = (x * across, y * down, (x + w) * across, (y + h) * down)
            centre = x * across, y * down  # Label Studio turns a rectangle around its upper left corner
        case _:
            raise AnnotationError(f"{where}: a region of type {region.type} has no place")
    return box, centre


def _image(where: str, folder: Path, data: dict[str, Any]) -> tuple[Path, str]:
    """Return the file of a task's image and its name below `folder`.

    Its URI names a folder of the machine where Label Studio ran, a bucket or an upload; the longest end of its path
    that is here counts. An upload has eight digits before its name.
    """
    uris = [
        value for key, value in data.items() if isinstance(value, str) and _path(value).suffix.lower() in IMAGE_SUFFIXES
    ]
    if len(uris) != 1:
        raise AnnotationError(
            f"{where}: its data must name one image, and names {len(uris) or 'none'}: data is {sorted(data)}"
        )
    path = _path(uris[0])
    parts = [part for part in path.parts if part not in ("/", "..")]
    names = [PurePosixPath(*parts[skipped:]) for skipped in range(len(parts))]
    names.append(PurePosixPath(re.sub(r"^[0-9a-f]{8}-", "", path.name)))
    for name in names:
        for root in (folder, folder / "images"):
            if (file := image_file(root, name)).is_file():
                return file, name.as_posix()
    raise AnnotationError(
        f"{where}: {uris[0]} is not in {folder}, nor in its folder images: copy the images there, or name their folder "
        "(images)"
    )


def _path(uri: str) -> PurePosixPath:
    """Return the path in a URI; of /data/local-files/?d=..., the one behind it; of s3://, the key as it is."""
    if uri.startswith("s3://"):
        return PurePosixPath(bucket_and_key(uri)[1])
    parts = urlsplit(uri.replace("\\", "/"))
    behind = parse_qs(parts.query).get("d")
    return PurePosixPath(behind[0] if behind else unquote(parts.path))
