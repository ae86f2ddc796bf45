"""Small ground truths and detections, written as plain rows."""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from detector.data.annotations import CocoDataset, ImageInfo
from detector.runtime.postprocess import Detections
from tests.support.datasets import image_info


def _image(number: int, truths: Sequence[tuple], width: int = 300, height: int = 200) -> ImageInfo:
    """truths: (label, x1, y1, x2, y2[, "ignore" or "crowd"])."""
    return image_info(
        number,
        [row[1:5] for row in truths],
        [row[0] for row in truths],
        size=(width, height),
        file_name=f"{number}.jpg",
        ignore=["ignore" in row for row in truths],
        crowd=["crowd" in row for row in truths],
    )


def _found(rows: Sequence[tuple]) -> Detections:
    """rows: (score, label, x1, y1, x2, y2)."""
    return Detections(
        np.array([row[2:] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[0] for row in rows], np.float64),
        np.array([row[1] for row in rows], np.int64),
    )


def _dataset(*images: ImageInfo, classes: tuple[str, ...] = ("cat", "dog")) -> CocoDataset:
    return CocoDataset(classes, images)


def _random(seed: int, images: int = 12, classes: int = 3, crowds: bool = False):
    """Truths, and detections that are truths moved a little, repeated or relabelled, with many equal scores."""
    rng = np.random.default_rng(seed)
    names = tuple(f"class{i}" for i in range(classes))
    infos, detections = [], {}
    for number in range(1, images + 1):
        count = int(rng.integers(0, 6))
        low = rng.uniform(0, 200, (count, 2))
        boxes = np.concatenate([low, low + rng.uniform(8, 120, (count, 2))], axis=1).astype(np.float32)
        labels = rng.integers(0, classes, count)
        crowd = (rng.random(count) < 0.2) & crowds
        infos.append(
            image_info(
                number,
                boxes,
                labels,
                size=(320, 330),
                file_name=f"{number}.jpg",
                ignore=(rng.random(count) < 0.25) & ~crowd,
                crowd=crowd,
            )
        )
        if count and rng.random() < 0.9:
            picks = rng.integers(0, count, 10)
            moved = boxes[picks] + rng.normal(0, 8, (10, 4)).astype(np.float32)
            moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
            relabelled = np.where(rng.random(10) < 0.2, rng.integers(0, classes, 10), labels[picks])
            detections[number] = Detections(moved, np.round(rng.random(10), 1), relabelled.astype(np.int64))
    return CocoDataset(names, tuple(infos)), detections


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    return SimpleNamespace(image=_image, found=_found, dataset=_dataset, random=_random)
