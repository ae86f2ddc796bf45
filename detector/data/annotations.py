"""The internal dataset, which is COCO JSON on disk and frozen arrays in memory.

`file_name` is relative to the folder `images/` beside the JSON file. Image, annotation and category ids start at 1:
the COCO evaluators read a match with annotation 0 as no match. VOC's "difficult" is written as `ignore`, never as
`iscrowd`: a crowd may swallow any number of detections, a difficult object is one object.
"""

from __future__ import annotations

import codecs
import json
import reprlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    FiniteFloat,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
)

from detector.common.errors import AnnotationError
from detector.runtime.geometry.boxes import Boxes


@dataclass(frozen=True, eq=False)
class ImageInfo:
    """One image and its truths, in the frame after the EXIF orientation.

    boxes: float32 (N, 4) xyxy; labels: int64 (N,), indices into the dataset's classes; ignore, crowd: bool (N,).
    A detector need not find an ignored truth, and finding it is no mistake. A crowd is a region of many objects.
    weight: how often an epoch of the training shows the image. group: images of one group belong into one split; None
    where the source groups them by file or folder.
    """

    id: int
    file_name: str
    width: int  # 0 x 0 in a source that does not state the size
    height: int
    boxes: Boxes
    labels: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    weight: float = field(default=1.0, kw_only=True)
    group: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True, eq=False)
class ExactImage(ImageInfo):
    """An image whose boxes are also known as the file has them: xywh, float64 (N, 4)."""

    xywh: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CocoDataset:
    """Classes in label order, and images. `category_ids` are the ids of the classes on disk; () means 1, 2, ..."""

    classes: tuple[str, ...]
    images: tuple[ImageInfo, ...]
    category_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.category_ids:
            object.__setattr__(self, "category_ids", tuple(range(1, len(self.classes) + 1)))

    def require_boxes(self, name: object) -> None:
        """Raise AnnotationError, which begins with `name`, if there is no box from which a detector could learn."""
        if all((image.ignore | image.crowd).all() for image in self.images):
            raise AnnotationError(
                f"{name}: no image has a box to learn from (ignored objects and crowds do not count): check the "
                "annotations of the training images"
            )


def _number(value: float) -> int | float:
    """Return 12 for 12.0, so that the JSON is short and does not depend on the type that the number had."""
    return int(value) if value == int(value) else float(value)


def save_coco(dataset: CocoDataset, path: Path) -> None:
    """Write compact COCO JSON with sorted keys and images in the order of their ids: equal datasets give equal bytes.

    Widths are differences in float64, and `load_coco` adds them back, so that float32 corners are restored exactly.
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
            | ({} if image.weight == 1 else {"boxcar_weight": image.weight})
            for image in images
        ],
        "annotations": annotations,
    }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    path.write_bytes(text.encode() + b"\n")


class _Row(BaseModel):
    model_config = ConfigDict(strict=True)


_Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]
CocoBox = tuple[FiniteFloat, FiniteFloat, _Size, _Size]  # x, y, width, height
_Flag = Annotated[bool, Field(strict=False)]  # 0 or 1


def _inside(name: str) -> str:
    """Return a path that stays inside the image folder; of a Windows path, what follows its drive or its server."""
    windows = PureWindowsPath(name)
    if "://" in name:
        raise ValueError("is a URL: download the images, and name files")
    if "\\" in name or (windows.drive and windows.root):
        name = windows.relative_to(windows.anchor).as_posix()
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts:
        raise ValueError("must stay inside the image folder")
    return path.as_posix()


# Some tools write whole numbers as 64.0.
def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


_Pixels = Annotated[NonNegativeInt, BeforeValidator(_whole)]


class _Category(_Row):
    id: NonNegativeInt
    name: Annotated[str, Field(min_length=1)]
    supercategory: Any = None


class _Image(_Row):
    id: NonNegativeInt
    file_name: Annotated[str, Field(min_length=1), AfterValidator(_inside)]
    width: _Pixels | None = None
    height: _Pixels | None = None
    boxcar_weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0


class _Annotation(_Row):
    id: NonNegativeInt
    image_id: NonNegativeInt
    category_id: NonNegativeInt
    bbox: CocoBox
    ignore: _Flag = False
    iscrowd: _Flag = False


class _Document(_Row):
    categories: Annotated[list[_Category], FailFast()]
    images: Annotated[list[_Image], FailFast()]
    annotations: Annotated[list[_Annotation], FailFast()]


Content = TypeVar("Content")
_DOCUMENT = TypeAdapter(_Document)


def read_json(path: Path, kind: TypeAdapter[Content]) -> Content:
    """Return the content of a JSON file, checked by `kind`.

    Raises AnnotationError, which names the file and the first entry that is wrong, as in `annotations[3].bbox`.
    """
    try:
        return kind.validate_json(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    except FileNotFoundError as error:
        raise AnnotationError(f"{path}: there is no such file") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise AnnotationError(f"{path}: is not JSON ({first['ctx']['error']})") from error
        where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"]).lstrip(".")
        reason = first["msg"].removeprefix("Value error, ")
        given = "" if isinstance(first["input"], dict | list) else f", not {reprlib.repr(first['input'])}"
        raise AnnotationError(f"{path}: {where or 'the document'}: {reason}{given}") from error


def group_of(where: str, fields: Mapping[str, Any], field: str | None) -> str | None:
    """Return the value of the field by which an image is grouped, as text; None without a field.

    Raises AnnotationError, which begins with `where` and names the fields that are there, if there is no such value.
    """
    if field is None:
        return None
    known = {name: value for name, value in fields.items() if isinstance(value, str | int | float)}
    if field not in known:
        raise AnnotationError(
            f"{where}: has no value for the field {field!r} (split.by); its fields are "
            f"{', '.join(sorted(known)) or 'none'}; name one that every image has, or group by file or folder"
        )
    return str(known[field])


def _refuse_repeated(path: Path, what: str, values: Iterable[Hashable]) -> None:
    """Raise AnnotationError if a value comes twice."""
    value, count = next(iter(Counter(values).most_common(1)), (None, 0))
    if count > 1:
        raise AnnotationError(f"{path}: {what} {value!r} is listed twice")


def _classes(document: _Document) -> list[_Category]:
    """Return the categories in the order of their ids.

    Roboflow's exports begin with a root: a category without annotations that all others name as their supercategory.
    It is left out if its name is also that of another one, because then it can be no class.
    """
    used = {row.category_id for row in document.annotations}
    names = Counter(row.name for row in document.categories)

    def is_second_root(row: _Category) -> bool:
        others = (other for other in document.categories if other.id != row.id)
        return names[row.name] > 1 and row.id not in used and all(other.supercategory == row.name for other in others)

    return sorted((row for row in document.categories if not is_second_root(row)), key=lambda row: row.id)


def _refuse_shared_files(path: Path, document: _Document) -> None:
    """Raise AnnotationError if two images have one file name."""
    ids: dict[str, int] = {}
    for row in document.images:
        if (first := ids.setdefault(row.file_name, row.id)) != row.id:
            raise AnnotationError(
                f"{path}: image {row.file_name!r} is listed twice, with the ids {first} and {row.id}, and a name does "
                "not say which file is meant: joined exports of several tasks or videos repeat names. Put the files of "
                f"each task into a folder, and its name before theirs, as in task_1/{row.file_name}, or export the "
                "tasks apart"
            )


def load_coco(path: Path, *, exact: bool = False) -> CocoDataset:
    """Read COCO JSON from any writer; classes in the order of their category ids, images in the order of theirs.

    Boxes are returned as written, without clipping; `exact` gives an ExactImage for each image. `ignore` and `iscrowd`
    default to 0, and so do width and height, which then are those of the file. The root of Roboflow's exports is left
    out if it bears the name of a class. Windows paths are read. Other keys are not read.
    Raises AnnotationError, which names the file and the entry: the file is not JSON, a key is missing, a value has the
    wrong type, an id, a class name or a file name is listed twice, a category or an image is not listed, a file name
    leaves the image folder, or a box is not four finite numbers with sizes of at least 0.
    """
    document = read_json(path, _DOCUMENT)
    _refuse_repeated(path, "category", (row.id for row in document.categories))
    categories = _classes(document)
    _refuse_repeated(path, "category", (row.name for row in categories))
    _refuse_repeated(path, "image", (row.id for row in document.images))
    _refuse_shared_files(path, document)
    _refuse_repeated(path, "annotation", (row.id for row in document.annotations))
    label_of = {row.id: label for label, row in enumerate(categories)}
    truths: dict[int, list[_Annotation]] = {image.id: [] for image in document.images}
    for row in document.annotations:
        if row.image_id not in truths:
            raise AnnotationError(f"{path}: annotation {row.id} belongs to image {row.image_id}, which is not listed")
        if row.category_id not in label_of:
            raise AnnotationError(f"{path}: annotation {row.id} has category {row.category_id}, which is not listed")
        truths[row.image_id].append(row)

    images = []
    for image in sorted(document.images, key=lambda row: row.id):
        own = truths[image.id]
        xywh = np.array([row.bbox for row in own], np.float64).reshape(-1, 4)
        boxes = xywh.copy()
        boxes[:, 2:] += boxes[:, :2]
        info = ImageInfo(
            id=image.id,
            file_name=image.file_name,
            width=image.width or 0,
            height=image.height or 0,
            boxes=boxes.astype(np.float32),
            labels=np.array([label_of[row.category_id] for row in own], np.int64),
            ignore=np.array([row.ignore for row in own], np.bool_),
            crowd=np.array([row.iscrowd for row in own], np.bool_),
            weight=image.boxcar_weight,
        )
        images.append(ExactImage(**vars(info), xywh=xywh) if exact else info)
    return CocoDataset(tuple(row.name for row in categories), tuple(images), tuple(label_of))
