"""What annotation files state about images, before the images are decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import cos, radians, sin
from pathlib import Path
from typing import NamedTuple

import numpy as np

from detector.common.errors import AnnotationError
from detector.data.annotations import CocoDataset, ImageInfo
from detector.data.checks import Repairs, Split, fit_images
from detector.data.frames import FrameRules
from detector.runtime.label_run import LabelRun

Box = tuple[float, float, float, float]  # x1, y1, x2, y2

# Notes, whose first gap is a number.
ROTATED = (
    "{} rotated rectangle(s) are taken as their bounding box and ignored: the detector need not find them, and finding "
    "them is no mistake"
)
POLYGONS = "{} polygon(s), masks or ellipses are taken as their bounding box"
NO_BOXES = "{} point(s), line(s), cuboid(s) or other shapes without a box were left out"
UNLABELLED = "{} image(s) have no annotation and were left out"


class Thing(NamedTuple):
    """One object as it was drawn: its class, and its box in pixels of the annotated image, half-open."""

    name: str
    box: Box
    ignore: bool = False


class Drawn(NamedTuple):
    """One annotated image: where it lies, its name in the dataset, and what was drawn. 0 x 0 is no stated size; group:
    as in ImageInfo."""

    path: Path
    file_name: str
    width: int
    height: int
    things: list[Thing]
    group: str | None = None


@dataclass(frozen=True, eq=False)
class Stated:
    """One split as a source states it. name: for messages; files: the path of each `file_name`; notes: sentences with
    a gap for the number of cases that they speak of; checked: the images whose labels people have seen, None for all;
    runs: the published runs that the labels come from."""

    name: str
    dataset: CocoDataset
    files: dict[str, Path]
    notes: Counter[str] = field(default_factory=Counter)
    checked: frozenset[str] | None = None
    runs: tuple[LabelRun, ...] = ()

    def fit(self, rules: FrameRules) -> Split:
        """Decode the images, and return them with real sizes and fitted boxes; raises as `fit_images` does.

        rules: about boxes that people drew. A detector's are always those of the upright image.
        """
        images, repairs = self.dataset.images, Repairs()
        by_people = [image for image in images if self.checked is None or image.file_name in self.checked]
        by_detector = [image for image in images if self.checked is not None and image.file_name not in self.checked]
        fitted: dict[str, ImageInfo] = {}
        for own, frame in ((by_people, rules.frame), (by_detector, "upright")):
            paths = [self.files[image.file_name] for image in own]
            some, repaired = fit_images(self.name, own, paths, replace(rules, frame=frame))
            fitted |= {image.file_name: image for image in some}
            repairs += repaired
        ordered = tuple(fitted[image.file_name] for image in images)
        return Split(CocoDataset(self.dataset.classes, ordered), self.files, repairs, self.checked)


def state(
    name: str, drawn: Sequence[Drawn], notes: Counter[str] | None = None, classes: Iterable[str] | None = None
) -> Stated:
    """Return the split of `drawn`, sorted by file name, with ids from 1.

    classes: in the order of their labels; by default those of the objects, in the order of the alphabet.
    """
    names = tuple(sorted({thing.name for image in drawn for thing in image.things}) if classes is None else classes)
    label_of = {label: number for number, label in enumerate(names)}
    ordered = sorted(drawn, key=lambda image: image.file_name)
    for one, other in pairwise(ordered):
        if one.file_name == other.file_name:
            raise AnnotationError(
                f"{other.path}: {one.path} has the same name in this source; two images cannot share it"
            )
    images = tuple(
        ImageInfo(
            id=number,
            file_name=image.file_name,
            width=image.width,
            height=image.height,
            boxes=np.array([thing.box for thing in image.things], np.float32).reshape(-1, 4),
            labels=np.array([label_of[thing.name] for thing in image.things], np.int64),
            ignore=np.array([thing.ignore for thing in image.things], np.bool_),
            crowd=np.zeros(len(image.things), np.bool_),
            group=image.group,
        )
        for number, image in enumerate(ordered, start=1)
    )
    files = {image.file_name: image.path for image in ordered}
    return Stated(name, CocoDataset(names, images), files, notes or Counter())


def around(points: Iterable[tuple[float, float]]) -> Box:
    """Return the bounding box of points (x, y)."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def rotated(box: Box, degrees: float, centre: tuple[float, float]) -> Box:
    """Return the bounding box of a box that was turned clockwise, as the image shows it, around a centre (x, y)."""
    turn, (x, y) = radians(degrees), centre
    corners = [(a - x, b - y) for a in box[::2] for b in box[1::2]]
    return around((x + a * cos(turn) - b * sin(turn), y + a * sin(turn) + b * cos(turn)) for a, b in corners)
