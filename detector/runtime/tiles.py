"""A detector around a detector: it looks at the whole of a large image, and at tiles of it, for small objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from detector.runtime.detector import Batch, Detector, Image
from detector.runtime.devices import Device
from detector.runtime.geometry.boxes import Boxes, area, intersection
from detector.runtime.postprocess import Detections
from detector.runtime.reading import Reading
from detector.runtime.tiling import Tiling

# A box within this many pixels of a tile's edge is taken to go on beyond it.
_NEAR = 1
# An object that a tile cuts is seen in whole elsewhere if another box covers this share of its piece.
_COVERED = 0.8
# Two boxes are of one object if they have this share of the smaller one in common, as in SAHI (Akyon 2022).
_SAME = 0.5


class TiledDetector:
    """Detects in tiles as well. An image that is not larger than a tile has the inner detector's own detections."""

    def __init__(self, inner: Detector, tiling: Tiling, *, most_overlap: float, max_detections: int) -> None:
        """most_overlap, max_detections: those of the artifact, which hold for the whole image too."""
        self._inner = inner
        self._tiling = tiling
        self._most_overlap = most_overlap
        self._max_detections = max_detections

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels."""
        return self._inner.classes

    @property
    def device(self) -> Device:
        """See Detector."""
        return self._inner.device

    @property
    def batch(self) -> int:
        """See Detector. The tiles of one image are batches enough."""
        return 1

    def reading(self, height: int, width: int) -> Reading:
        """See Detector. Of an image that is divided, every pixel is needed."""
        if self._tiling.divides(height, width):
            return Reading(height, width, None)
        return self._inner.reading(height, width)

    def detect(self, images: Sequence[Image], *, min_score: float | None = None) -> Batch:
        """See Detector. As many tiles at once are held in memory as one call of the graph takes."""
        found: list[Detections] = []
        seconds: dict[str, float] = {}
        for image in images:
            looks: list[Detections] = []
            for some in self._looks(image):
                batch = self._inner.detect(some, min_score=min_score)
                looks += batch.detections
                for step, spent in batch.seconds.items():
                    seconds[step] = seconds.get(step, 0.0) + spent
            found.append(self._merged(image, looks) if len(looks) > 1 else looks[0])
        return Batch(found, seconds)

    def _looks(self, image: Image) -> Iterator[list[Image]]:
        """Give the whole image, and then its tiles in batches."""
        yield [image]
        if self._tiling.divides(image.height, image.width):
            places = self._tiling.places(image.height, image.width)
            for first in range(0, len(places), self._inner.batch):
                yield [
                    Image.whole(np.ascontiguousarray(image.pixels[top:bottom, left:right]))
                    for left, top, right, bottom in places[first : first + self._inner.batch]
                ]

    def _merged(self, image: Image, looks: Sequence[Detections]) -> Detections:
        """Return the detections of all looks as those of one image; a tile's corner is whole pixels, so that moving its
        boxes rounds nothing."""
        whole = (0, 0, image.width, image.height)
        places = np.array([whole, *self._tiling.places(image.height, image.width)], np.float32)
        counts = [len(own.scores) for own in looks]
        tiles = np.repeat(places, counts, axis=0)  # (N, 4), the place of each box's look
        boxes = np.concatenate([own.boxes for own in looks]) + tiles[:, [0, 1, 0, 1]]
        scores = np.concatenate([own.scores for own in looks])
        labels = np.concatenate([own.labels for own in looks])
        inside = np.concatenate([tiles[:, :2] > 0, tiles[:, 2:] < places[0, 2:]], axis=1)  # (N, 4), edges of tiles
        cut = np.any(inside & (np.abs(boxes - tiles) <= _NEAR), axis=1)
        kept = self._kept(boxes, scores, labels, np.repeat(np.arange(len(looks)), counts), cut)
        return Detections(boxes[kept], scores[kept], labels[kept])

    def _kept(
        self,
        boxes: Boxes,  # (N, 4) xyxy
        scores: NDArray[np.float64],  # (N,)
        labels: NDArray[np.int64],  # (N,)
        looks: NDArray[np.int64],  # (N,), the look that found each box
        cut: NDArray[np.bool_],  # (N,), whether an inner edge of a tile cuts it
    ) -> NDArray[np.int64]:
        """Return the indices of the boxes that are kept, best score first; ties keep the order of the looks.

        Two boxes of one look are two objects, because the inner detector has kept both. Of two looks they are one
        object if they share half of the smaller box.
        """
        areas = area(boxes)
        rest = np.argsort(-scores, kind="stable")
        kept: list[np.int64] = []
        while len(rest) and len(kept) < self._max_detections:
            best, rest = rest[0], rest[1:]
            overlap = intersection(boxes[best : best + 1], boxes)[0]  # (N,)
            alike = labels == labels[best]
            elsewhere = alike & (looks != looks[best])
            if cut[best] and (elsewhere & ~cut & (overlap >= _COVERED * areas[best])).any():
                continue
            kept.append(best)
            union = (areas[best] + areas - overlap).astype(np.float64)  # as in nms, which the rules repeat
            same = elsewhere & (overlap >= _SAME * np.minimum(areas, areas[best]))
            same |= alike & (overlap > self._most_overlap * union)
            rest = rest[~same[rest]]
        return np.array(kept, np.int64)
