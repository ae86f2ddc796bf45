"""Reads "CVAT for images 1.1": one XML of all images, as CVAT exports it, with images/ beside it or without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.common.errors import AnnotationError
from detector.data.annotations import group_of
from detector.data.formats.xml import as_number, read_xml
from detector.data.frames import FrameRules, refuse_fractions
from detector.data.places import Places, image_file, shown
from detector.data.settings import CvatSource, split_named
from detector.data.stated import NO_BOXES, POLYGONS, ROTATED, Box, Drawn, Stated, Thing, around, rotated, state

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# Attributes, of any label, by which CVAT's own exporters mark objects that need not be found.
_IGNORED = frozenset({"difficult", "is_crowd", "iscrowd"})
_TAGS = frozenset({"tag", "attribute"})


def read(source: CvatSource, places: Places, seed: int, rules: FrameRules) -> dict[str, Stated]:
    """Read the subsets that `splits` names, or all images if it names none."""
    drawn: dict[str, list[Drawn]] = {}
    notes: dict[str, Counter[str]] = {}
    for root in places.roots(source):
        for path in annotation_files(root):
            document = read_xml(path)
            if document.tag != "annotations":
                raise AnnotationError(f"{path}: is not of CVAT: the top element is <{document.tag}>")
            if document.find("track") is not None:
                raise AnnotationError(
                    f'{path}: holds tracks of a video: export the task as "CVAT for images 1.1", which has its frames'
                )
            folder = Path(source.images) if source.images else path.parent
            for image in document.findall("image"):
                subset = image.get("subset") or "default"
                own = notes.setdefault(subset, Counter())
                drawn.setdefault(subset, []).append(_image(path, folder, image, subset, own, source.group_field))
    if not drawn:
        raise AnnotationError(f"{source.name()}: lists no images")
    wanted: Mapping[Any, str] = source.splits or {"train": ""}
    splits: dict[str, Stated] = {}
    for name, subset in wanted.items():
        if source.splits and subset not in drawn:
            raise AnnotationError(f"{source.name()}: has no subset {subset!r}; it has {', '.join(drawn)}")
        chosen = [subset] if source.splits else list(drawn)
        images = [image for one in chosen for image in drawn[one]]
        if twice := [file for file, count in Counter(image.file_name for image in images).items() if count > 1]:
            raise AnnotationError(f"{source.name()}: image {twice[0]} is listed twice: use a source for each file")
        label = f"{name} of {source.name()}"
        refuse_fractions(label, {i.file_name: np.array([t.box for t in i.things]).reshape(-1, 4) for i in images})
        splits[name] = state(label, images, sum((notes[one] for one in chosen), Counter()))
    return splits


def recognise(data: Path) -> dict[str, Any] | None:
    """Return the settings of a source that reads `data`, or None if it is not of this format."""
    files = [data] if data.is_file() else shown(data, "*.xml")
    if not files or files[0].suffix != ".xml" or read_xml(files[0]).tag != "annotations":
        return None
    subsets = {image.get("subset") or "default" for path in files for image in read_xml(path).iter("image")}
    splits = {split: name for name in sorted(subsets) if (split := split_named(name))}
    return {"data": str(data)} | ({"splits": splits} if "train" in splits else {})


def annotation_files(root: Path) -> list[Path]:
    """Return the XML files of an export."""
    if root.is_file():
        return [root]
    if not (found := shown(root, "*.xml")):
        raise AnnotationError(f"{root}: holds no XML; an export has annotations.xml in its folder")
    return found


def _image(
    path: Path, folder: Path, image: Element, subset: str, notes: Counter[str], group_field: str | None
) -> Drawn:
    name = image.get("name") or ""
    where = f"{path}: image {name!r}"
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise AnnotationError(f"{where}: its name must be a path below the folder of images")
    tried = [folder / "images", folder / "images" / subset, folder / subset, folder]
    file = next((file for root in tried if (file := image_file(root, name)).is_file()), None)
    if file is None:
        raise AnnotationError(
            f"{where} is not in {folder}, nor in its folder images: export with images, or name their folder (images)"
        )
    things = [thing for shape in image for thing in _things(where, shape, notes)]
    width, height = (int(as_number(image.get(side) or "0", f"{where}: {side}")) for side in ("width", "height"))
    group = group_of(where, _fields(image), group_field)
    return Drawn(file, name if subset == "default" else f"{subset}/{name}", width, height, things, group)


def _fields(image: Element) -> dict[str, str]:
    """Return what CVAT knows of an image: the attributes of its element, and those of its tags, by their names."""
    of_tags = {
        str(own.get("name")): (own.text or "").strip() for tag in image.iter("tag") for own in tag.iter("attribute")
    }
    return dict(image.attrib) | of_tags


def _things(where: str, shape: Element, notes: Counter[str]) -> list[Thing]:
    """Return the object of a shape, or nothing. A shape that is `outside` its frame is not shown."""
    if shape.tag in _TAGS or shape.get("outside") == "1":
        return []
    box = _box(f"{where}: <{shape.tag}>", shape)
    if box is None:
        notes[NO_BOXES] += 1
        return []
    label = shape.get("label")
    if not label:
        raise AnnotationError(f"{where}: a <{shape.tag}> has no label")
    angle = as_number(shape.get("rotation") or "0", f"{where}: rotation")
    ignored = any(
        own.get("name") in _IGNORED and (own.text or "").strip().lower() in ("1", "true")
        for own in shape.findall("attribute")
    )
    if angle % 360:
        box = rotated(box, angle, ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
        notes[ROTATED] += 1
    elif shape.tag != "box":
        notes[POLYGONS] += 1
    return [Thing(label, box, ignored or angle % 360 != 0)]


def _box(where: str, shape: Element) -> Box | None:
    def number(key: str) -> float:
        return as_number(shape.get(key), f"{where}: {key}")

    match shape.tag:
        case "box":
            return number("xtl"), number("ytl"), number("xbr"), number("ybr")
        case "polygon":
            points = [point.split(",") for point in (shape.get("points") or "").split(";")]
            if any(len(point) != 2 for point in points):
                raise AnnotationError(f"{where}: its points must read x,y;x,y;...")
            return around((as_number(x, where), as_number(y, where)) for x, y in points)
        case "mask":
            left, top = number("left"), number("top")
            return left, top, left + number("width"), top + number("height")
        case "ellipse":
            x, y, a, b = number("cx"), number("cy"), number("rx"), number("ry")
            return x - a, y - b, x + a, y + b
    return None
