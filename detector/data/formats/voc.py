"""Reads PASCAL VOC's XML (Everingham et al. 2010), in devkits and in plain folders of XML and images.

VOC boxes are 1-based and inclusive: a box over the first pixel alone is (1, 1, 1, 1). Here edges are 0-based and
half-open, (0, 0, 1, 1): the minima lose 1 and the maxima stay. Many tools count from 0 instead. Where a source has a
minimum below 1, its tool did, and nothing is subtracted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.common.errors import AnnotationError
from detector.data.formats.xml import as_number, read_xml
from detector.data.frames import FrameRules, refuse_fractions
from detector.data.places import Places, images_below, shown
from detector.data.settings import SPLITS, SplitName, VocSource
from detector.data.stated import ROTATED, UNLABELLED, Drawn, Stated, Thing, rotated, state

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_FROM_ZERO = (
    "{} image(s) belong to a source that has boxes from 0 on: it was taken as 0-based, where VOC itself counts from 1"
)


def read(source: VocSource, places: Places, seed: int, rules: FrameRules) -> dict[str, Stated]:
    """Read the lists that `splits` names, or all annotations if it names none."""
    roots = places.roots(source)
    if source.splits is None:
        return {"train": state_folder(roots)}
    return state_lists(roots, source.splits)


def recognise(data: Path) -> dict[str, Any] | None:
    """Return the settings of a source that reads `data`, or None if it is not of this format.

    The lists of a devkit are its splits if they have a train list; one of trainval is taken where there is no val.
    """
    if not data.is_dir() or not any(read_xml(path).tag == "annotation" for path in shown(data, "**/*.xml")[:3]):
        return None
    lists = {path.stem for path in shown(data, "**/ImageSets/Main/*.txt") if path.stat().st_size}
    splits = {split: split for split in SPLITS if split in lists}
    if "trainval" in lists and "val" not in splits:
        splits["train"] = "trainval"
    return {"data": str(data)} | ({"splits": splits} if "train" in splits else {})


def _number(path: Path, parent: Element, tag: str) -> float:
    return as_number(parent.findtext(tag), f"{path}: <{tag}> in <{parent.tag}>")


def _side(path: Path, size: Element | None, tag: str) -> int:
    """Return a stated side in pixels, 0 if none is stated."""
    if size is None or not (size.findtext(tag) or "").strip():
        return 0
    return int(_number(path, size, tag))


def parse_voc(path: Path, root: Element, image: Path, file_name: str, notes: Counter[str]) -> Drawn:
    """Return what one annotation states, with the numbers of its boxes as they are written.

    path: of the annotation, for messages; root: its top element. Difficult objects are ignored. Truncated and occluded
    objects are objects like others. A rotated rectangle of rolabelImg (<robndbox>) becomes its bounding box and is
    ignored. Raises AnnotationError, which names the file: an object has no name or no box, or a number cannot be read.
    """
    things: list[Thing] = []
    for thing in root.findall("object"):
        # Direct children only: <part> elements (heads, hands) have a <name> and a <bndbox> of their own.
        name = (thing.findtext("name") or "").strip()
        if not name:
            raise AnnotationError(f"{path}: an object has no <name>")
        difficult = thing.find("difficult") is not None and _number(path, thing, "difficult") != 0
        if (turned := thing.find("robndbox")) is not None:
            cx, cy, w, h, angle = (_number(path, turned, tag) for tag in ("cx", "cy", "w", "h", "angle"))
            box = rotated((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), float(np.degrees(angle)), (cx, cy))
            notes[ROTATED] += 1
            things.append(Thing(name, box, ignore=True))
            continue
        if (corners := thing.find("bndbox")) is None:
            raise AnnotationError(f"{path}: an object of class {name} has no <bndbox>")
        x1, y1, x2, y2 = (_number(path, corners, tag) for tag in ("xmin", "ymin", "xmax", "ymax"))
        things.append(Thing(name, (x1, y1, x2, y2), difficult))
    size = root.find("size")
    return Drawn(image, file_name, _side(path, size, "width"), _side(path, size, "height"), things)


def _annotation(path: Path) -> Element:
    root = read_xml(path)
    if root.tag != "annotation":
        raise AnnotationError(f"{path}: is not a VOC annotation: the top element is <{root.tag}>")
    return root


def _first(drawn: Iterable[Drawn]) -> int:
    """Return the number that a source's boxes count from, 0 or 1."""
    return 0 if any(min(thing.box[:2]) < 1 for image in drawn for thing in image.things) else 1


def _state(name: str, drawn: Sequence[Drawn], notes: Counter[str], first: int) -> Stated:
    """Return the split, with half-open edges. Raises AnnotationError if boxes are fractions."""
    written = {image.file_name: np.array([thing.box for thing in image.things]).reshape(-1, 4) for image in drawn}
    refuse_fractions(f"{name}: the annotations", written)
    if not first:
        notes[_FROM_ZERO] += len(drawn)

    def shifted(thing: Thing) -> Thing:
        x1, y1, x2, y2 = thing.box
        return thing._replace(box=(x1 - first, y1 - first, x2, y2))

    return state(name, [image._replace(things=[shifted(thing) for thing in image.things]) for image in drawn], notes)


def state_folder(roots: Sequence[Path]) -> Stated:
    """Return what every VOC annotation below the folders states about its image, which has the same name.

    The image may lie beside the annotation or in another folder, as in annotations/ and images/. Images without an
    annotation are left out and counted. File names are paths below their root.
    Raises AnnotationError as `parse_voc` does, if there is no annotation, an annotation has no image or several that
    may be meant, or boxes are fractions.
    """
    notes: Counter[str] = Counter()
    drawn: list[Drawn] = []
    for root in roots:
        images: dict[str, list[Path]] = {}
        for path in images_below(root):
            images.setdefault(path.stem, []).append(path)
        used: set[Path] = set()
        for path in shown(root, "**/*.xml"):
            annotation = read_xml(path)
            if annotation.tag == "annotation":
                image = _image_of(path, annotation, images)
                if image in used:
                    raise AnnotationError(f"{path}: {image} has another annotation too: remove one of them")
                used.add(image)
                drawn.append(parse_voc(path, annotation, image, image.relative_to(root).as_posix(), notes))
        if missing := sum(len(paths) for paths in images.values()) - len(used):
            notes[UNLABELLED] += missing
    where = ", ".join(map(str, roots))
    if not drawn:
        raise AnnotationError(f"{where}: no VOC annotation here (no *.xml with <annotation>)")
    return _state(where, drawn, notes, _first(drawn))


def _image_of(path: Path, annotation: Element, images: dict[str, list[Path]]) -> Path:
    """Return the image of an annotation: the one of its name, nearest to it, or the one of its <filename>."""
    stated = Path((annotation.findtext("filename") or "").strip().replace("\\", "/")).stem
    found = images.get(path.stem) or images.get(stated) or []
    if len(found) > 1:
        beside = [image for image in found if image.parent == path.parent]
        # annotations/a/1.xml belongs to images/a/1.jpg.
        found = beside or [image for image in found if image.parent.name == path.parent.name] or found
    if not found:
        raise AnnotationError(f"{path}: no image has its name, {path.stem}: add the image, or remove the annotation")
    if len(found) > 1:
        raise AnnotationError(f"{path}: {found[0]} and {found[1]} may be its image: put it beside one of them")
    return found[0]


def _years(roots: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the folders of each year, by its name ("VOC2007"): archives of one year may be unpacked apart."""
    years: dict[str, list[Path]] = {}
    for root in roots:
        for images in sorted(root.rglob("JPEGImages")):
            years.setdefault(images.parent.name, []).append(images.parent)
    return years


def _listed(folders: list[Path], split: str) -> list[str]:
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


def _find(folders: list[Path], inside: str, split: str, name: str, suffixes: Sequence[str]) -> Path:
    for folder in folders:
        for suffix in suffixes:
            path = folder / inside / f"{name}{suffix}"
            if path.is_file():
                return path
    places = ", ".join(str(folder / inside) for folder in folders)
    raise AnnotationError(f"{name}{suffixes[0]}: listed in {split}.txt but not found in {places}")


def state_lists(roots: Sequence[Path], lists: Mapping[SplitName, str]) -> dict[str, Stated]:
    """Return, by split, what `ImageSets/Main/<list>.txt` of every devkit year below `roots` states.

    One minimum below 1 in any of the lists says that all of them count from 0. File names are those of JPEGImages.
    Raises AnnotationError as `parse_voc` does, and if there is no devkit, the list has no images, a listed image or
    annotation is missing, all boxes are fractions, or two years have an image of one name.
    """
    notes: dict[str, Counter[str]] = {name: Counter() for name in lists}
    drawn = {name: _listed_images(roots, listed, notes[name]) for name, listed in lists.items()}
    first = _first(image for images in drawn.values() for image in images)
    return {name: _state(listed, drawn[name], notes[name], first) for name, listed in lists.items()}


def _listed_images(roots: Sequence[Path], split: str, notes: Counter[str]) -> list[Drawn]:
    years = _years(roots)
    if not years:
        raise AnnotationError(f"{', '.join(map(str, roots))}: no VOC devkit here (no folder JPEGImages)")
    entries: list[tuple[str, list[Path]]] = []
    for folders in years.values():
        entries += [(name, folders) for name in _listed(folders, split)]
    if not entries:
        raise AnnotationError(f"{', '.join(map(str, roots))}: no ImageSets/Main/{split}.txt names an image")

    drawn: dict[str, Drawn] = {}
    for name, folders in sorted(entries, key=lambda entry: entry[0]):
        image = _find(folders, "JPEGImages", split, name, (".jpg", ".jpeg", ".png", ".JPG"))
        if image.name in drawn:
            raise AnnotationError(f"{image}: {drawn[image.name].path} has the same name; two images cannot share it")
        path = _find(folders, "Annotations", split, name, (".xml",))
        drawn[image.name] = parse_voc(path, _annotation(path), image, image.name, notes)
    return list(drawn.values())
