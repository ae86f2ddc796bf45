"""Reads any COCO detection dataset as the internal dataset."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from detector.common.errors import AnnotationError
from detector.common.progress import progress
from detector.data.annotations import CocoDataset, ImageInfo, load_coco
from detector.data.checks import Repairs, Split, fit_image


def _image_root(folder: Path, first_name: str) -> Path:
    """Return the folder that holds the images: `folder`, or the only folder in it.

    Archives often put their images into one more folder ("val2017/"), which `file_name` leaves out.
    """
    if (folder / first_name).is_file():
        return folder
    inside = [path for path in folder.iterdir() if path.is_dir()]
    if len(inside) == 1 and (inside[0] / first_name).is_file():
        return inside[0]
    raise AnnotationError(f"{folder}: does not hold the image {first_name}, the first that the annotations list")


def read_coco(annotations: Path, images: Path) -> Split:
    """Read one split: its annotation JSON and the folder of its images, every one of which is decoded.

    Sizes are those of the decoded pixels; boxes are clipped to them and empty ones dropped. Categories become labels in
    the order of their ids; images keep their order and get ids from 1.
    Raises AnnotationError as `load_coco` does, and if there are no images, or one is missing or does not decode.
    """
    if not images.is_dir():
        raise AnnotationError(f"{images}: there is no such folder of images")
    stated = load_coco(annotations)
    if not stated.images:
        raise AnnotationError(f"{annotations}: lists no images")
    root = _image_root(images, stated.images[0].file_name)
    fitted: list[ImageInfo] = []
    repairs = Repairs()
    for image in progress(stated.images, len(stated.images), f"read {annotations.name}"):
        info, repaired = fit_image(dataclasses.replace(image, id=len(fitted) + 1), root / image.file_name)
        fitted.append(info)
        repairs += repaired
    return Split(
        CocoDataset(stated.classes, tuple(fitted)),
        {image.file_name: root / image.file_name for image in fitted},
        repairs,
    )
