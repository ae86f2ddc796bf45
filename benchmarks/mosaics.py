"""Large photographs whose objects are known: the photographs of a labelled split, enlarged or laid side by side."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from detector.common.progress import progress
from detector.data.annotations import CocoDataset, ImageInfo
from detector.runtime.images import decode_image

_GREY = 114
QUALITY = 90  # of JPEG, as cameras write it


def write_mosaics(
    truth: CocoDataset, images: Path, out: Path, *, grid: int, cell: tuple[int, int], title: str
) -> CocoDataset:
    """Write JPEGs of grid x grid photographs into the folder `out`, and return their truth.

    cell: (height, width) in pixels that each photograph fills as far as its ratio allows; the rest is grey. With a grid
    of 1 nothing is grey. Photographs that do not fill a mosaic are left out, unless there are too few for any.
    """
    out.mkdir(parents=True, exist_ok=True)
    step = grid * grid
    starts = range(0, max(1, len(truth.images) - step + 1), step)
    made = [
        _mosaic(index + 1, truth.images[first : first + step], images, out, grid, cell)
        for index, first in enumerate(progress(starts, len(starts), title))
    ]
    return CocoDataset(truth.classes, tuple(made))


def _mosaic(
    number: int, photos: tuple[ImageInfo, ...], images: Path, out: Path, grid: int, cell: tuple[int, int]
) -> ImageInfo:
    height, width = cell
    sheet = Image.new("RGB", (grid * width, grid * height), (_GREY,) * 3)
    boxes = []
    for place, info in enumerate(photos):
        photo = Image.fromarray(decode_image((images / info.file_name).read_bytes()))
        scale = min(height / photo.height, width / photo.width)
        large = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC)
        left, top = place % grid * width, place // grid * height
        sheet.paste(large, (left, top))
        exact = np.array([large.width / photo.width, large.height / photo.height] * 2)
        boxes.append((info.boxes * exact + [left, top] * 2).astype(np.float32))
        if grid == 1:
            sheet = sheet.crop((0, 0, *large.size))
    file_name = f"{number:06d}.jpg"
    sheet.save(out / file_name, quality=QUALITY)
    width, height = sheet.size
    return dataclasses.replace(
        photos[0],
        id=number,
        file_name=file_name,
        width=width,
        height=height,
        boxes=np.concatenate(boxes),
        labels=np.concatenate([info.labels for info in photos]),
        ignore=np.concatenate([info.ignore for info in photos]),
        crowd=np.concatenate([info.crowd for info in photos]),
    )
