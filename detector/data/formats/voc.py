"""Reads PASCAL VOC devkits (Everingham et al. 2010) as the internal dataset.

VOC boxes are 1-based and inclusive: a box over the first pixel alone is (1, 1, 1, 1). Here edges are 0-based and
half-open, (0, 0, 1, 1): the minima lose 1 and the maxima stay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeElementTree

from detector.common.errors import AnnotationError
from detector.data.annotations import CocoDataset, ImageInfo
from detector.data.checks import Split, fit_images
from detector.data.classes import VOC_CLASSES
from detector.data.frames import FrameRules, refuse_fractions

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


# What the minima of a box lose when it is read.
_FIRST_PIXEL = np.array([1, 1, 0, 0], np.float32)


def _number(path: Path, parent: Element, tag: str) -> float:
    text = parent.findtext(tag)
    try:
        value = float(text) if text is not None else float("nan")
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise AnnotationError(f"{path}: <{tag}> in <{parent.tag}> must be a number, not {text!r}")
    return value


def parse_voc(path: Path) -> ImageInfo:
    """Read one annotation file; a file without objects describes an image without objects.

    The result has the stated size, or 0 x 0 if there is none, and `ignore` for difficult objects; it has no id yet.

    Raises AnnotationError, which names the file: it is missing, it is not XML, it declares entities (XML bombs do), an
    object has no name or no box, a number cannot be read, or a class is not one of the 20.
    """
    try:
        root: Element = SafeElementTree.fromstring(path.read_bytes())
    except FileNotFoundError as error:
        raise AnnotationError(f"{path}: there is no such annotation") from error
    except DefusedXmlException as error:
        raise AnnotationError(f"{path}: refused, it declares entities or references: {error}") from error
    except (SafeElementTree.ParseError, LookupError, ValueError) as error:  # unknown encodings raise the last two
        raise AnnotationError(f"{path}: is not XML ({error})") from error
    if root.tag != "annotation":
        raise AnnotationError(f"{path}: is not a VOC annotation: the top element is <{root.tag}>")

    rows: list[tuple[list[float], int, bool]] = []
    for thing in root.findall("object"):
        # Direct children only: <part> elements (heads, hands) have a <name> and a <bndbox> of their own.
        name = (thing.findtext("name") or "").strip()
        if name not in VOC_CLASSES:
            raise AnnotationError(f"{path}: class {name!r} is not one of the 20 VOC classes")
        box = thing.find("bndbox")
        if box is None:
            raise AnnotationError(f"{path}: an object of class {name} has no <bndbox>")
        xmin, ymin, xmax, ymax = (_number(path, box, tag) for tag in ("xmin", "ymin", "xmax", "ymax"))
        difficult = thing.find("difficult") is not None and _number(path, thing, "difficult") != 0
        rows.append(([xmin - 1, ymin - 1, xmax, ymax], VOC_CLASSES.index(name), difficult))
    size = root.find("size")
    return ImageInfo(
        id=0,
        file_name="",
        width=0 if size is None else int(_number(path, size, "width")),
        height=0 if size is None else int(_number(path, size, "height")),
        boxes=np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
        labels=np.array([label for _, label, _ in rows], np.int64),
        ignore=np.array([difficult for _, _, difficult in rows], np.bool_),
        crowd=np.zeros(len(rows), np.bool_),
    )


def _years(roots: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the folders of each year, by its name ("VOC2007"): archives of one year may be unpacked apart."""
    years: dict[str, list[Path]] = {}
    for root in roots:
        for images in sorted(root.rglob("JPEGImages")):
            years.setdefault(images.parent.name, []).append(images.parent)
    return years


def _split_names(folders: list[Path], split: str) -> list[str]:
    names: set[str] = set()
    for folder in folders:
        path = folder / "ImageSets" / "Main" / f"{split}.txt"
        if not path.is_file():
            continue
        for line in path.read_text("utf-8-sig").splitlines():
            if not line.strip():
                continue
            name = line.split()[0]
            if Path(name).name != name:
                raise AnnotationError(f"{path}: {name!r} is not the name of an image")
            names.add(name)
    return sorted(names)


def _find(folders: list[Path], inside: str, split: str, name: str) -> Path:
    for folder in folders:
        path = folder / inside / name
        if path.is_file():
            return path
    places = ", ".join(str(folder / inside) for folder in folders)
    raise AnnotationError(f"{name}: listed in {split}.txt but not found in {places}")


def read_voc(roots: Sequence[Path], split: str, rules: FrameRules | None = None) -> Split:
    """Read `ImageSets/Main/<split>.txt` of every devkit year below `roots`; every image is decoded.

    Sizes are those of the decoded pixels. Boxes are moved into the upright frame by `rules`, clipped, and dropped if
    empty; difficult -> ignore. Images are sorted by file name, with ids from 1.
    Raises AnnotationError as `parse_voc` and `move_upright` do, and if there is no devkit, the split has no images, a
    listed image or annotation is missing or cannot be read, all boxes are fractions, or two years have an image of one
    name.
    """
    years = _years(roots)
    if not years:
        raise AnnotationError(f"{', '.join(map(str, roots))}: no VOC devkit here (no folder JPEGImages)")
    entries: list[tuple[str, list[Path]]] = []
    for folders in years.values():
        entries += [(name, folders) for name in _split_names(folders, split)]
    entries.sort(key=lambda entry: entry[0])
    if not entries:
        raise AnnotationError(f"{', '.join(map(str, roots))}: no ImageSets/Main/{split}.txt names an image")

    stated: list[ImageInfo] = []
    files: dict[str, Path] = {}
    for number, (name, folders) in enumerate(entries, start=1):
        path = _find(folders, "JPEGImages", split, f"{name}.jpg")
        if path.name in files:
            raise AnnotationError(f"{path}: {files[path.name]} has the same name; two images cannot share it")
        files[path.name] = path
        info = parse_voc(_find(folders, "Annotations", split, f"{name}.xml"))
        stated.append(dataclasses.replace(info, id=number, file_name=path.name))
    refuse_fractions(f"{split}: the annotations", [image.boxes + _FIRST_PIXEL for image in stated])
    fitted, repairs = fit_images(split, stated, list(files.values()), rules or FrameRules())
    return Split(CocoDataset(VOC_CLASSES, fitted), files, repairs)
