"""What every source checks of its images and boxes before they become the internal dataset."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.common.errors import AnnotationError, ImageError
from detector.data.annotations import CocoDataset
from detector.runtime.geometry.boxes import Boxes, area, clip
from detector.runtime.images import decode_image


@dataclass(frozen=True)
class Repairs:
    """What was put right in a split: boxes clipped to their image, boxes dropped because nothing of them lay
    inside it, and images whose decoded size is not the one that the annotation states."""

    clipped: int = 0
    dropped: int = 0
    mismatched: int = 0

    def __add__(self, other: Repairs) -> Repairs:
        return Repairs(self.clipped + other.clipped, self.dropped + other.dropped, self.mismatched + other.mismatched)


@dataclass(frozen=True, eq=False)
class Split:
    """What a source hands over: the dataset, where each `file_name` lies now, and what was repaired."""

    dataset: CocoDataset
    files: dict[str, Path]
    repairs: Repairs = field(default_factory=Repairs)


def fit_boxes(boxes: Boxes, height: int, width: int) -> tuple[Boxes, NDArray[np.bool_], Repairs]:
    """(N, 4) xyxy -> the boxes clipped to the image and not empty (M, 4), which were kept (N,), and the counts."""
    inside = clip(boxes, height, width)
    kept = area(inside) > 0
    clipped = (inside != boxes).any(axis=1) & kept
    return inside[kept], kept, Repairs(clipped=int(clipped.sum()), dropped=int((~kept).sum()))


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the decoded, upright picture. Raises AnnotationError naming the file if it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AnnotationError(f"{path}: the image cannot be read ({error.strerror})") from error
    try:
        pixels = decode_image(data)
    except ImageError as error:
        raise AnnotationError(f"{path}: the image does not decode: {error}") from error
    height, width = pixels.shape[:2]
    return height, width
