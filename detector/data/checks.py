"""Checks and repairs of images and boxes, which every source makes before they become the internal dataset."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.common.errors import AnnotationError, ImageError
from detector.data.annotations import CocoDataset, ImageInfo
from detector.runtime.geometry.boxes import Boxes, area, clip
from detector.runtime.images import decode_image


@dataclass(frozen=True)
class Repairs:
    """The numbers of repairs in a split. clipped: boxes that were cut at the edges of their image; dropped: boxes that
    lay outside their image; mismatched: images whose decoded size is not the one that the annotation states."""

    clipped: int = 0
    dropped: int = 0
    mismatched: int = 0

    def __add__(self, other: Repairs) -> Repairs:
        return Repairs(self.clipped + other.clipped, self.dropped + other.dropped, self.mismatched + other.mismatched)


@dataclass(frozen=True, eq=False)
class Split:
    """One split as it was read: the dataset, the path of each `file_name`, and the numbers of repairs."""

    dataset: CocoDataset
    files: dict[str, Path]
    repairs: Repairs = field(default_factory=Repairs)


def fit_boxes(boxes: Boxes, height: int, width: int) -> tuple[Boxes, NDArray[np.bool_], Repairs]:
    """Clip boxes (N, 4) xyxy to their image and drop empty ones.

    Returns the boxes (M, 4) that are left, which of the N boxes these are, bool (N,), and the numbers of repairs.
    """
    inside = clip(boxes, height, width)
    kept = area(inside) > 0
    clipped = (inside != boxes).any(axis=1) & kept
    return inside[kept], kept, Repairs(clipped=int(clipped.sum()), dropped=int((~kept).sum()))


def fit_image(stated: ImageInfo, path: Path) -> tuple[ImageInfo, Repairs]:
    """Decode the image at `path`, and return it with its real size and fitted boxes, and the numbers of repairs.

    A stated size of 0 x 0 is unknown, which is not a mismatch. Raises AnnotationError if the image cannot be decoded.
    """
    height, width = image_size(path)
    boxes, kept, repairs = fit_boxes(stated.boxes, height, width)
    mismatched = (stated.height, stated.width) not in ((0, 0), (height, width))
    rows = {name: getattr(stated, name)[kept] for name in ("labels", "ignore", "crowd")}
    fitted = dataclasses.replace(stated, height=height, width=width, boxes=boxes, **rows)
    return fitted, repairs + Repairs(mismatched=int(mismatched))


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of the decoded, upright image. Raises AnnotationError if it cannot be read."""
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
