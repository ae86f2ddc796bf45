"""Reads any COCO detection dataset as the internal dataset."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import TypeAdapter

from detector.common.errors import AnnotationError
from detector.data.annotations import CocoDataset, group_of, load_coco, read_json
from detector.data.checks import Split
from detector.data.frames import FrameRules, refuse_fractions
from detector.data.places import Places, image_file, shown
from detector.data.settings import CocoSource, split_named
from detector.data.stated import Stated

_ROWS = TypeAdapter(dict[str, Any])


def _image_root(folder: Path, first: PurePosixPath) -> tuple[Path, PurePosixPath]:
    """Return the folder that holds the images, and the folders in their names that lead to it: often none.

    The first is `folder`, or the only folder in it: archives often put their images into one more folder ("val2017/").
    The second is what names of another machine have before the part that is here, as in "C:/data/photos/a.jpg", or
    what repeats the name of `folder`, as in "photos/a.jpg" for the folder "photos". A file name alone is not enough: an
    image of the same name in another folder is another image.
    """
    inside = [path for path in folder.iterdir() if path.is_dir()]
    for skipped in range(len(first.parts)):
        for root in (folder, *inside) if len(inside) == 1 else (folder,):
            is_known = not skipped or len(first.parts) - skipped > 1 or first.parts[skipped - 1] == root.resolve().name
            if is_known and image_file(root, PurePosixPath(*first.parts[skipped:])).is_file():
                return root, PurePosixPath(*first.parts[:skipped])
    raise AnnotationError(f"{folder}: does not hold the image {first}, the first that the annotations list")


def read_coco(annotations: Path, images: Path, rules: FrameRules | None = None) -> Split:
    """Read one split: its annotation JSON and the folder of its images, every one of which is decoded.

    Sizes are those of the decoded pixels; boxes are moved into the upright frame by `rules`, clipped, and dropped if
    empty. Raises AnnotationError as `state_coco` and `move_upright` do, and if an image is missing or does not decode.
    """
    return state_coco(annotations, images).fit(rules or FrameRules())


def read(source: CocoSource, places: Places, seed: int, rules: FrameRules) -> dict[str, Stated]:
    """Read the annotations of every split that the source names; all must list the same categories."""
    splits: dict[str, Stated] = {}
    for name, files in source.splits.items():
        folder = places.folder(files.images, files.checksum, source.cache, f"fetch.sources: coco.splits.{name}")
        splits[name] = state_coco(Path(files.annotations), folder, source.group_field)
        first, *_ = source.splits
        if splits[name].dataset.classes != splits[first].dataset.classes:
            raise AnnotationError(
                f"{files.annotations}: its categories are not those of {source.splits[first].annotations}: name it in "
                "a source of its own, where `rename` gives classes other names"
            )
    return splits


def recognise(data: Path) -> dict[str, Any] | None:
    """Return the settings of a source that reads `data`, or None if it is not of this format.

    The names of the files, or those of their folders, tell the splits; one file alone is of "train". Images lie beside
    their file, in a folder images or in one of the split's name. Raises AnnotationError if they are not found, or if
    several files may be meant.
    """
    files = [data] if data.is_file() else shown(data, "**/*.json")
    files = [path for path in files if path.suffix == ".json" and _is_coco(path)]
    if not files:
        return None
    splits: dict[str, Path] = {}
    for path in files:
        name = "train" if len(files) == 1 else split_named(path.stem) or split_named(path.parent.name)
        if name is None or name in splits:
            raise AnnotationError(
                f"{data}: holds several COCO files; their names must tell train, val and test: {path}"
            )
        splits[name] = path
    home = data.parent if data.is_file() else data
    return {
        "splits": {
            name: {"annotations": str(path), "images": str(_images_of(path, name, home))}
            for name, path in splits.items()
        }
    }


def _is_coco(path: Path) -> bool:
    content = path.read_bytes()
    return all(key in content for key in (b'"images"', b'"annotations"', b'"categories"'))


def _images_of(path: Path, split: str, home: Path) -> Path:
    images = load_coco(path).images
    if not images:
        raise AnnotationError(f"{path}: lists no images")
    first = PurePosixPath(images[0].file_name)
    inside = [folder for folder in sorted(home.iterdir()) if folder.is_dir() and split_named(folder.name) == split]
    for folder in (path.parent, path.parent / "images", home / "images", home / "images" / split, *inside, home):
        if folder.is_dir():
            with contextlib.suppress(AnnotationError):
                _image_root(folder, first)
                return folder
    raise AnnotationError(f"{path}: the image {first} is not found below {home}: put the images beside the file")


def _groups(annotations: Path, field: str) -> dict[int, str | None]:
    """Return the group of each image by its id. Rows have been checked before, without keys that only some tools
    write."""
    rows = read_json(annotations, _ROWS)["images"]
    return {row["id"]: group_of(f"{annotations}: image {row['file_name']}", row, field) for row in rows}


def state_coco(annotations: Path, images: Path, group_field: str | None = None) -> Stated:
    """Return what an annotation JSON states about the images in a folder.

    Categories become labels in the order of their ids; images keep their order and get ids from 1. group_field: the key
    of each image's row that groups images.
    Raises AnnotationError as `load_coco` does, if there are no images, the first one is missing, or all boxes are
    fractions.
    """
    if not images.is_dir():
        raise AnnotationError(f"{images}: there is no such folder of images")
    stated = load_coco(annotations)
    if not stated.images:
        raise AnnotationError(f"{annotations}: lists no images")
    refuse_fractions(annotations, {image.file_name: image.boxes for image in stated.images})
    names = [PurePosixPath(image.file_name) for image in stated.images]
    root, before = _image_root(images, names[0])
    for name in names:
        if not name.is_relative_to(before):
            raise AnnotationError(
                f"{annotations}: image {name} lies outside {before}, where {names[0]} lies: put both below one folder, "
                f"as they were, and name it instead of {images}"
            )
    groups = _groups(annotations, group_field) if group_field else {}
    renamed = [
        dataclasses.replace(image, id=number, file_name=name.relative_to(before).as_posix(), group=groups.get(image.id))
        for number, (image, name) in enumerate(zip(stated.images, names, strict=True), start=1)
    ]
    files = {image.file_name: image_file(root, image.file_name) for image in renamed}
    return Stated(annotations.name, CocoDataset(stated.classes, tuple(renamed)), files)
