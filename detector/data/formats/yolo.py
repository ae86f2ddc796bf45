"""Reads YOLO's text files: one for each image, with a line `class x y width height` for each object.

The numbers are fractions of the upright image, as Ultralytics reads them; x and y are of the box's centre. A polygon
(`class x1 y1 x2 y2 ...`) becomes its bounding box, as in Ultralytics's own training of detectors. The names of the
classes come from data.yaml, or from classes.txt or obj.names beside the images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from detector.common.errors import AnnotationError, ImageError
from detector.data.frames import FrameRules
from detector.data.places import Places, images_below, shown
from detector.data.settings import SPLITS, YoloSource
from detector.data.stated import POLYGONS, Box, Drawn, Stated, Thing, around, state
from detector.runtime.images import exif_orientation, frame_size

NAME_FILES = ("classes.txt", "obj.names", "labels/classes.txt", "images/classes.txt")
_UNLABELLED = "{} image(s) have no label file and were left out; an empty label file means an image without objects"
_TWICE = "{} line(s) are the same as another one of their file, and were left out"
# Rounding moves the edge of a box by less than this part of its image.
_ROUNDING = 0.01


def read(source: YoloSource, places: Places, seed: int, rules: FrameRules) -> dict[str, Stated]:
    """Read the splits that `splits` names, or those that data.yaml has; without data.yaml all images are of "train"."""
    found: dict[str, list[Path]] = {}
    names: list[str] | None = None
    roots = places.roots(source)
    for root in roots:
        described = find_yaml(root)
        own_names, own = _described(described) if described else (_listed_names(root), {"train": images_below(root)})
        if names is not None and own_names != names:
            raise AnnotationError(f"{root}: its classes are not those of the other archives of this source")
        names = own_names
        for split, images in own.items():
            found.setdefault(split, []).extend(images)
    assert names is not None  # a source has a root
    wanted: Mapping[Any, str] = source.splits or {name: name for name in SPLITS if name in found}
    if absent := [key for key in wanted.values() if key not in found]:
        raise AnnotationError(f"{source.name()}: has no split {absent[0]!r}; it has {', '.join(found)}")
    return {name: _state(f"{name} of {source.name()}", found[key], roots, names, rules) for name, key in wanted.items()}


def recognise(data: Path) -> dict[str, Any] | None:
    """Return the settings of a source that reads `data`, or None if it is not of this format."""
    if data.is_file():
        return {"data": str(data)} if data.suffix in (".yaml", ".yml") and "names" in _content(data) else None
    named = any((data / file).is_file() for file in NAME_FILES)
    return {"data": str(data)} if find_yaml(data) or (named and any(data.rglob("*.txt"))) else None


def find_yaml(root: Path) -> Path | None:
    """Return the file that describes a data set: `root` itself, or the only *.yaml in it with `names`."""
    if root.is_file():
        return root
    found = [path for path in [*shown(root, "*.yaml"), *shown(root, "*.yml")] if "names" in _content(path)]
    if len(found) > 1:
        raise AnnotationError(f"{root}: {found[0].name} and {found[1].name} describe a data set: name one of them")
    return found[0] if found else None


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text("utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: is not YAML ({error})") from error
    return content if isinstance(content, dict) else {}


def _described(path: Path) -> tuple[list[str], dict[str, list[Path]]]:
    """Return the names of the classes and the images of each split."""
    content = _content(path)
    if "kpt_shape" in content:
        raise AnnotationError(f"{path}: describes key points (kpt_shape): export the boxes alone")
    names = _names(path, content.get("names"))
    if isinstance(count := content.get("nc"), int) and count != len(names):
        raise AnnotationError(f"{path}: nc is {count}, but `names` has {len(names)} names: correct one of them")
    stated = Path(str(content.get("path") or "."))
    # Other machines wrote an absolute path, or one below Ultralytics's own folder of data sets.
    root = next((folder for folder in (path.parent / stated, path.parent) if folder.is_dir()), path.parent)
    splits = {}
    for name in (*SPLITS, *(key for key in content if key == "valid")):
        if content.get(name):
            entries = content[name] if isinstance(content[name], list) else [content[name]]
            splits[name] = [image for entry in entries for image in _images(path, root, str(entry))]
    if not splits:
        raise AnnotationError(f"{path}: names no images: `train`, `val` or `test` must be a folder or a list")
    return names, splits


def _names(path: Path, names: Any) -> list[str]:
    """Return the names by their numbers, of a list or of a map from numbers."""
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise AnnotationError(f"{path}: the numbers of `names` must be 0 to {len(names) - 1}, without gaps")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise AnnotationError(f"{path}: `names` must list the classes")
    texts = [str(name).strip() for name in names]
    if len(set(texts)) < len(texts) or not all(texts):
        raise AnnotationError(f"{path}: `names` has a name twice, or an empty one")
    return texts


def _listed_names(root: Path) -> list[str]:
    for file in NAME_FILES:
        if (path := root / file).is_file():
            lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
            return _names(path, [line for line in lines if line])
    raise AnnotationError(
        f"{root}: nothing names the classes: add a data.yaml with `names`, or a classes.txt with one name a line, in "
        "the order of their numbers"
    )


def _images(described: Path, root: Path, entry: str) -> list[Path]:
    """Return the images of a folder, or of a text file with one path a line."""
    # Roboflow writes ../train/images beside the folder train.
    places = [root / entry, described.parent / entry, described.parent / entry.removeprefix("../")]
    place = next((place for place in places if place.exists()), None)
    if place is None:
        raise AnnotationError(f"{described}: {entry} is not there (looked in {root})")
    if place.is_dir():
        return images_below(place)
    images = []
    for line in filter(None, map(str.strip, place.read_text("utf-8-sig").splitlines())):
        # A list is relative to itself ("./"), to the root, or was written on another machine, with its folder's name.
        tried = [place.parent / line, root / line, root / line.removeprefix("data/")]
        image = next((path for path in tried if path.is_file()), None)
        if image is None:
            raise AnnotationError(f"{place}: lists {line}, which is not there")
        images.append(image)
    return images


def label_file(image: Path) -> Path:
    """Return where the labels of an image lie: below labels/ for the last images/ of its path, or beside it."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        place = len(parts) - 2 - parts[-2::-1].index("images")
        path = Path(*parts[:place], "labels", *parts[place + 1 :]).with_suffix(".txt")
        if path.is_file():
            return path
    return image.with_suffix(".txt")


def _state(name: str, images: Sequence[Path], roots: Sequence[Path], names: list[str], rules: FrameRules) -> Stated:
    notes: Counter[str] = Counter()
    drawn: list[Drawn] = []
    cornered: list[bool] = []
    for image in dict.fromkeys(images):
        path = label_file(image)
        if not path.is_file():
            notes[_UNLABELLED] += 1
            continue
        size, is_known = _size(image, rules)
        lines = list(_lines(path, names))
        notes[_TWICE] += len(lines) - len(set(lines))
        things = []
        for label, box, corners in dict.fromkeys(lines):
            notes[POLYGONS] += corners > 0
            cornered.append(corners == 4)
            scaled = (box[0] * size[1], box[1] * size[0], box[2] * size[1], box[3] * size[0])
            things.append(Thing(names[label], scaled))
        height, width = size if is_known else (0, 0)
        drawn.append(Drawn(image, _file_name(image, roots), width, height, things))
    if cornered and all(cornered):
        raise AnnotationError(
            f"{name}: every object has four corners: these are rotated boxes (YOLO-OBB), which are not read; export "
            "upright boxes"
        )
    if not drawn:
        raise AnnotationError(
            f"{name}: no image has a label file, such as {label_file(images[0])}"
            if images
            else f"{name}: holds no images"
        )
    return state(name, drawn, +notes, names)


def _file_name(image: Path, roots: Sequence[Path]) -> str:
    """Return the path of an image below its root, which stays the same when other images are added."""
    for root in roots:
        folder = root.parent if root.is_file() else root
        if image.is_relative_to(folder) and ".." not in image.relative_to(folder).parts:
            return image.relative_to(folder).as_posix()
    return image.resolve().relative_to(image.resolve().anchor).as_posix()


def _size(image: Path, rules: FrameRules) -> tuple[tuple[int, int], bool]:
    """Return (height, width) of the frame in which fractions are taken, and whether that frame is certain."""
    data = image.read_bytes()
    try:
        height, width = frame_size(data)
        turned = exif_orientation(data) > 1
        swapped = exif_orientation(data) >= 5
    except ImageError as error:
        raise AnnotationError(f"{image}: the image does not decode: {error}") from error
    size = (width, height) if swapped and rules.frame == "stored" else (height, width)
    return size, not turned


def _lines(path: Path, names: list[str]) -> Iterator[tuple[int, Box, int]]:
    """Yield the class, the box as fractions, and the number of corners of each object, 0 for a box.

    Raises AnnotationError, which names the file and the line.
    """
    for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), start=1):
        where = f"{path}: line {number}"
        try:
            values = [float(word) for word in line.split()]
        except ValueError:
            raise AnnotationError(f"{where} must hold numbers, not {line[:60]!r}") from None
        if not values:
            continue
        label, *numbers = values
        if label != int(label) or not 0 <= label < len(names):
            raise AnnotationError(
                f"{where}: class {label:g} is not one of 0 to {len(names) - 1}, the {len(names)} names of this data set"
            )
        if len(numbers) == 5:
            raise AnnotationError(
                f"{where} has six numbers, the last of them a score: these are predictions, no labels"
            )
        if len(numbers) != 4 and (len(numbers) % 2 or len(numbers) < 6):
            raise AnnotationError(f"{where} has {len(values)} numbers: a box has 5, a polygon 7, 9, 11, ...")
        if not all(-_ROUNDING <= value <= 1 + _ROUNDING for value in numbers):
            raise AnnotationError(
                f"{where}: {line.strip()[:60]!r} has numbers outside 0 to 1: YOLO's are fractions of the image, not "
                "pixels"
            )
        if len(numbers) == 4:
            x, y, width, height = numbers
            yield int(label), (x - width / 2, y - height / 2, x + width / 2, y + height / 2), 0
        else:
            yield int(label), around(zip(numbers[::2], numbers[1::2], strict=True)), _corners(numbers)


def _corners(numbers: list[float]) -> int:
    """Return the number of corners of a polygon; 2 for a rectangle along the axes."""
    along = len(numbers) == 8 and len(set(np.round(numbers[::2], 6))) == len(set(np.round(numbers[1::2], 6))) == 2
    return 2 if along else len(numbers) // 2
