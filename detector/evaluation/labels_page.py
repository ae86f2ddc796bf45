"""Makes labels.html: images with the annotations that a detector contradicts most, for a person to decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from detector.common.pages import Figure, Group, render_template, thumbnail
from detector.data.annotations import CocoDataset, ImageInfo
from detector.evaluation.detections import DetectionSet
from detector.evaluation.doubts import KINDS, Doubt
from detector.evaluation.figures import Figures

IMAGE_BYTES = 3_000_000
DOUBT_GROUPS = tuple(Group(kind, f"labels in doubt: {kind}") for kind in KINDS)
Pixels = NDArray[np.uint8]


def doubt_figure(figures: Figures, truth: CocoDataset, detections: DetectionSet, doubt: Doubt) -> Figure:
    """Return the figure of a doubtful annotation, with a sentence that says what contradicts it."""
    info = truth.images[doubt.image]
    found = detections[info.id]
    seen = f"{truth.classes[found.labels[doubt.detection]]} {found.scores[doubt.detection]:.2f}"
    if doubt.truth is None:
        note = f"overlooked? {seen} is not annotated"
    elif doubt.kind == "swapped":
        note = f"swapped? annotated as {truth.classes[info.labels[doubt.truth]]}, and {seen} lies there"
    else:
        note = f"misplaced? {seen} has other edges"
    return figures.figure(doubt.image, [doubt.kind], note, detection=doubt.detection, truth=doubt.truth)


def labels_page(
    name: str,
    truth: CocoDataset,
    detections: DetectionSet,
    doubts: Sequence[Doubt],
    score: float,
    read: Callable[[ImageInfo], Pixels],
) -> bytes:
    """Return the page of one split as HTML in UTF-8.

    doubts: those to show; score: detections below it are drawn only where they contradict an annotation; read: returns
    an image's pixels, uint8 RGB (H, W, 3).
    """
    numbers = sorted({doubt.image for doubt in doubts})
    budget = IMAGE_BYTES // max(1, len(numbers))
    figures = Figures(truth, detections, score, {i: thumbnail(read(truth.images[i]), budget) for i in numbers})
    drawn = [doubt_figure(figures, truth, detections, doubt) for doubt in doubts]
    used = {box.label for figure in drawn for box in figure.boxes}
    groups = {group for figure in drawn for group in figure.groups}
    return render_template(
        "detector.evaluation",
        "labels.html",
        name=name,
        images=len(truth.images),
        boxes=sum(len(image.boxes) for image in truth.images),
        score=score,
        meanings=KINDS,
        figures=drawn,
        groups=[group for group in DOUBT_GROUPS if group.name in groups],
        labels=[label for label in truth.classes if label in used],
    )
