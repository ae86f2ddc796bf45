"""Checks and repairs of images and boxes, which every source makes before they become the internal dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.common.progress import progress
from detector.data.annotations import CocoDataset, ImageInfo
from detector.data.frames import FrameRules, move_upright, read_image_file
from detector.runtime.geometry.boxes import Boxes, area, clip


@dataclass(frozen=True)
class Repairs:
    """The numbers of repairs in a split.

    clipped: boxes that were cut at the edges of their image; dropped: boxes that lay outside their image. Numbers of
    images: mismatched, whose decoded size is not the one that the annotation states; turned, whose boxes were drawn in
    the stored frame and were turned upright; scaled, whose boxes were scaled to the file's size; assumed_upright and
    assumed_stored, with an EXIF orientation and boxes in a frame that nothing tells.
    """

    clipped: int = 0
    dropped: int = 0
    mismatched: int = 0
    turned: int = 0
    scaled: int = 0
    assumed_upright: int = 0
    assumed_stored: int = 0

    def __add__(self, other: Repairs) -> Repairs:
        return Repairs(*map(sum, zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))

    def notices(self) -> list[str]:
        """Return a sentence about each decision on the frame of boxes."""
        untold = (
            "{} image(s) have an EXIF orientation, and no stated size tells in which frame their boxes were drawn: "
        )
        sentences = {
            "the boxes of {} image(s) were drawn in the stored frame, and were turned upright by EXIF": self.turned,
            "the boxes of {} image(s) were scaled from the stated size to the file's": self.scaled,
            untold + "it is taken as the upright one; if it is the stored one, set fetch.boxes_frame to stored": (
                self.assumed_upright
            ),
            untold + "it is taken as the stored one, as in the turned images whose size tells it; if it is the upright "
            "one, set fetch.boxes_frame to upright": self.assumed_stored,
        }
        return [sentence.format(f"{count:,}") for sentence, count in sentences.items() if count]


@dataclass(frozen=True, eq=False)
class Split:
    """One split as it was read: the dataset, the path of each `file_name`, and the numbers of repairs.

    checked: the images whose labels people have seen; None: all.
    """

    dataset: CocoDataset
    files: dict[str, Path]
    repairs: Repairs = field(default_factory=Repairs)
    checked: Collection[str] | None = None

    def is_checked(self, file_name: str) -> bool:
        """Return whether people have seen the labels of an image."""
        return self.checked is None or file_name in self.checked


def fit_boxes(boxes: Boxes, height: int, width: int) -> tuple[Boxes, NDArray[np.bool_], Repairs]:
    """Clip boxes (N, 4) xyxy to their image and drop empty ones.

    Returns the boxes (M, 4) that are left, which of the N boxes these are, bool (N,), and the numbers of repairs.
    """
    inside = clip(boxes, height, width)
    kept = area(inside) > 0
    clipped = (inside != boxes).any(axis=1) & kept
    return inside[kept], kept, Repairs(clipped=int(clipped.sum()), dropped=int((~kept).sum()))


def fit_images(
    source: object, stated: Sequence[ImageInfo], paths: Sequence[Path], rules: FrameRules
) -> tuple[tuple[ImageInfo, ...], Repairs]:
    """Decode the images at `paths`, and return them with real sizes and fitted boxes, and the numbers of repairs.

    stated: as the annotations `source` have them; a size of 0 x 0 is unknown, which is not a mismatch. Raises
    AnnotationError if an image cannot be decoded, and as `move_upright` does.
    """
    files = [read_image_file(path) for path in progress(paths, len(paths), f"read {source}")]
    fitted: list[ImageInfo] = []
    repairs = Repairs()
    for before, moved in zip(stated, move_upright(source, stated, files, rules), strict=True):
        image = moved.image
        boxes, kept, repaired = fit_boxes(image.boxes, image.height, image.width)
        rows = {name: getattr(image, name)[kept] for name in ("labels", "ignore", "crowd")}
        fitted.append(dataclasses.replace(image, boxes=boxes, **rows))
        repairs += repaired + Repairs(
            mismatched=int((before.height, before.width) not in ((0, 0), (image.height, image.width))),
            turned=int(moved.turned),
            scaled=int(moved.scaled),
            assumed_upright=int(moved.assumed == "upright"),
            assumed_stored=int(moved.assumed == "stored"),
        )
    return tuple(fitted), repairs
