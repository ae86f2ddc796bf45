"""Makes the figures of a gallery: an image with its truths and the confident detections, and one of these marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from detector.common.pages import Box, Figure, drawn_first
from detector.data.annotations import CocoDataset
from detector.evaluation.detections import DetectionSet, no_detections

MOST_BOXES = 30


class Figures:
    """Makes figures of the images of a dataset.

    score: detections below it are not drawn, except for the marked one; thumbnails: `data:` URIs by the image's index.
    """

    def __init__(
        self, truth: CocoDataset, detections: DetectionSet, score: float, thumbnails: Mapping[int, str]
    ) -> None:
        self._truth, self._detections, self._score, self._thumbnails = truth, detections, score, thumbnails

    def figure(
        self, image: int, groups: list[str], note: str, *, detection: int | None = None, truth: int | None = None
    ) -> Figure:
        """Return the figure of the image with this index; detection, truth: the indices of boxes to mark."""
        info = self._truth.images[image]
        boxes = [
            self._box(label, None, corners, marked=index == truth)
            for index, (label, corners) in enumerate(zip(info.labels.tolist(), info.boxes.tolist(), strict=True))
        ]
        found = self._detections.get(info.id, no_detections())
        boxes += [
            self._box(int(found.labels[i]), float(found.scores[i]), found.boxes[i].tolist(), marked=i == detection)
            for i in range(len(found.scores))
            if found.scores[i] >= self._score or i == detection
        ]
        drawn = drawn_first(boxes)[-MOST_BOXES:]
        return Figure(
            name=f"{groups[0]}-{image}-{detection if truth is None else truth}",
            title=info.file_name,
            width=info.width,
            height=info.height,
            picture=self._thumbnails[image],
            reason=None,
            boxes=drawn,
            groups=groups,
            notes=[note],
            more=len(boxes) - len(drawn),
        )

    def _box(self, label: int, score: float | None, corners: Sequence[float], *, marked: bool) -> Box:
        x1, y1, x2, y2 = corners
        kind: Literal["truth", "found"] = "truth" if score is None else "found"
        return Box(self._truth.classes[label], label, score, x1, y1, x2 - x1, y2 - y1, kind, marked)
