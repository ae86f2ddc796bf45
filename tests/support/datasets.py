"""Small datasets for tests: one image's annotations written as plain rows, and generated scenes on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from detector.data.annotations import CocoDataset, ImageInfo, save_coco
from detector.data.generated import GENERATED_CLASSES, draw_scene


def image_info(
    number: int,
    boxes: ArrayLike = (),
    labels: int | Sequence[int] = 0,
    *,
    size: tuple[int, int] = (100, 60),
    file_name: str | None = None,
    ignore: ArrayLike = False,
    crowd: ArrayLike = False,
) -> ImageInfo:
    """Return one image with its truths.

    boxes: xyxy rows; labels, ignore, crowd: one value for each box, or one for all; size: (width, height);
    file_name: by default the number with ".png".
    """
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    return ImageInfo(
        id=number,
        file_name=file_name or f"{number}.png",
        width=size[0],
        height=size[1],
        boxes=corners,
        labels=np.broadcast_to(np.array(labels, np.int64), len(corners)).copy(),
        ignore=np.broadcast_to(np.array(ignore, np.bool_), len(corners)).copy(),
        crowd=np.broadcast_to(np.array(crowd, np.bool_), len(corners)).copy(),
    )


def write_scenes(folder: Path, splits: Mapping[str, int], classes: tuple[str, ...] = GENERATED_CLASSES) -> Path:
    """Write generated scenes as `detector fetch` lays them out: a COCO file for each split, and `images/`.

    classes: other names for the scenes' classes, in their order; there may be more of them.
    """
    (folder / "images").mkdir(parents=True)
    number = 0
    for split, count in splits.items():
        images = []
        for _ in range(count):
            number += 1
            scene = draw_scene(3, number)
            height, width = scene.pixels.shape[:2]
            images.append(image_info(number, scene.boxes, scene.labels, size=(width, height), ignore=scene.ignore))
            Image.fromarray(scene.pixels).save(folder / "images" / f"{number}.png")
        save_coco(CocoDataset(classes, tuple(images)), folder / f"{split}.json")
    return folder
