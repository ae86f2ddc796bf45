"""Draws the scenes of `detector.data.generated` as a source."""

from __future__ import annotations

import numpy as np
from PIL import Image

from detector.common.progress import progress
from detector.data.annotations import CocoDataset, ImageInfo
from detector.data.frames import FrameRules
from detector.data.generated import GENERATED_CLASSES, draw_scene
from detector.data.places import Places
from detector.data.settings import GeneratedSource
from detector.data.stated import Stated

# Each split has its own range of scene numbers, so that a larger train split does not change val and test.
_SCENES_APART = 1_000_000
# The lowest JPEG quality that shows no blocks around the hard edges of the scenes.
_JPEG_QUALITY = 95


def read(source: GeneratedSource, places: Places, seed: int, rules: FrameRules) -> dict[str, Stated]:
    """Draw the scenes of every split into the scratch folder."""
    counts = source.splits.model_dump()
    splits: dict[str, Stated] = {}
    with progress(None, sum(counts.values()), "draw scenes") as bar:
        for order, (name, count) in enumerate(counts.items()):
            images: list[ImageInfo] = []
            for number in range(1, count + 1):
                scene = draw_scene(seed, order * _SCENES_APART + number)
                file_name = f"{name}-{number:06d}.jpg"
                path = places.scratch / file_name
                Image.fromarray(scene.pixels).save(path, quality=_JPEG_QUALITY, subsampling=0)
                height, width = scene.pixels.shape[:2]
                truth = (scene.boxes, scene.labels, scene.ignore, np.zeros(len(scene.boxes), np.bool_))
                images.append(ImageInfo(number, file_name, width, height, *truth))
                bar.update()
            files = {image.file_name: places.scratch / image.file_name for image in images}
            splits[name] = Stated(name, CocoDataset(GENERATED_CLASSES, tuple(images)), files)
    return splits
