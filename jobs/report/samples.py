"""The images that a report may show, drawn while the parts of a run are read.

The draw depends on the images' URIs alone, so that a second report shows the same images. Memory grows with the number
of labels and of parts, not with that of images.
"""

from __future__ import annotations

import hashlib
import heapq
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.formats import Plan, PlannedImage, PlanPart, Record

# Images of each label; fewer, but at least one, where all labels together would have more than SAMPLE.
A_LABEL = 6
SAMPLE = 150
# Images with a score near one half, and how far from it such a score may be: outside .35 to .65 a box is not in doubt.
DOUBTFUL = 24
MOST_DOUBT = 0.15
# Failed images of each status.
A_STATUS = 6


@dataclass(frozen=True)
class SampledImage:
    """An image that may be shown, with its record."""

    image: PlannedImage
    record: Record


class Lowest:
    """The `limit` items with the lowest ranks of all that were added."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[tuple[float, int, SampledImage]] = []  # ranks negative: the highest one is at the top

    def add(self, doubt: float, draw: int, item: SampledImage) -> None:
        """Keep an item whose rank is among the lowest. The rank is `doubt`, then `draw`, which no two share."""
        entry = (-doubt, -draw, item)
        if len(self._heap) < self._limit:
            heapq.heappush(self._heap, entry)
        elif self._limit and entry[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, entry)

    def __iter__(self) -> Iterator[SampledImage]:
        """The kept items, lowest rank first."""
        return (item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2], reverse=True))


class Samples:
    """Images to show, drawn from a run; `add` its parts in the plan's order.

    by_label: images with boxes of each label; doubtful: images that have a box with a score near one half; failures:
    failed images by status.
    """

    def __init__(self, plan: Plan, classes: Sequence[str]) -> None:
        self.by_label = {label: Lowest(max(1, min(A_LABEL, SAMPLE // len(classes)))) for label in classes}
        self.doubtful = Lowest(DOUBTFUL)
        self.failures: dict[str, Lowest] = {}
        self._parts = plan.parts
        self._first_keys: list[bytes] = []

    def add(self, images: Sequence[PlannedImage], records: Sequence[Record]) -> None:
        """Draw from the next part: its planned images, and the record of each."""
        self._first_keys.append(images[0].key.encode() if images else b"")
        for image, record in zip(images, records, strict=True):
            self._draw(SampledImage(image, record))

    def part_of(self, key: str) -> PlanPart | None:
        """The part that has an image if it was planned at all: keys are sorted by their bytes over all parts."""
        place = bisect_right(self._first_keys, key.encode()) - 1
        return self._parts[place] if place >= 0 else None

    def _draw(self, item: SampledImage) -> None:
        record = item.record
        draw = int.from_bytes(hashlib.sha256(record.image.encode()).digest()[:8])
        if record.status != "ok":
            self.failures.setdefault(record.status, Lowest(A_STATUS)).add(0.0, draw, item)
            return
        for label in {box.label for box in record.boxes}:
            if label in self.by_label:
                self.by_label[label].add(0.0, draw, item)
        doubt = min((distance_to_half(box.score) for box in record.boxes), default=1.0)
        if doubt <= MOST_DOUBT:
            self.doubtful.add(doubt, draw, item)


def distance_to_half(score: float) -> float:
    """The distance of a score from one half, in steps of 0.0001. Scores are calibrated probabilities, so at one half
    the detector says that the box is as likely wrong as right."""
    return round(abs(score - 0.5), 4)
