"""What a report keeps of a run while its parts pass by: counts, and a few records by chance that repeats itself.

Memory grows with the number of labels and, by one key a part, with the number of parts; not with the images.
"""

from __future__ import annotations

import hashlib
import heapq
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detector.runtime.baseline import Histograms
from jobs.formats import Plan, PlannedImage, PlanPart, Record

# Pictures a label, where there are not so many labels that together they exceed the sample; then one of each that fits.
A_LABEL = 6
SAMPLE = 150
DOUBTFUL = 24
A_STATUS = 6


@dataclass(frozen=True)
class Shown:
    """An image that may be shown, with its record."""

    image: PlannedImage
    record: Record


class Lowest:
    """The `limit` items with the lowest ranks of all that were added."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[tuple[float, int, Shown]] = []  # ranks negative: the highest one is at the top

    def add(self, doubt: float, draw: int, item: Shown) -> None:
        """doubt, then draw: the rank. A draw is that of the item's image, so that no two items are of one rank."""
        entry = (-doubt, -draw, item)
        if len(self._heap) < self._limit:
            heapq.heappush(self._heap, entry)
        elif self._limit and entry[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, entry)

    def __iter__(self) -> Iterator[Shown]:
        """Lowest rank first."""
        return (item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2], reverse=True))


class Collector:
    """Looks at a run part by part; `add` each, in the plan's order.

    statuses, labels: records and boxes of each; unknown: boxes with labels that the artifact does not have;
    detected: images that have boxes; histograms: of the boxes whose label is known; samples: pictures by label;
    doubtful: pictures whose scores are nearest to one half; failures: pictures by status.
    """

    def __init__(self, plan: Plan, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.statuses: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.unknown = 0
        self.detected = 0
        self.histograms = Histograms(len(classes))
        self.samples = {label: Lowest(max(1, min(A_LABEL, SAMPLE // len(classes)))) for label in classes}
        self.doubtful = Lowest(DOUBTFUL)
        self.failures: dict[str, Lowest] = {}
        self._numbers = {label: number for number, label in enumerate(classes)}
        self._parts = plan.parts
        self._first_keys: list[bytes] = []

    def add(self, images: list[PlannedImage], records: list[Record]) -> None:
        """The next part: its planned images, and the record of each."""
        self._first_keys.append(images[0].key.encode() if images else b"")
        labels: list[int] = []
        scores: list[float] = []
        shares: list[float] = []
        for image, record in zip(images, records, strict=True):
            self.statuses[record.status] += 1
            self.detected += bool(record.boxes)
            area = (record.width or 0) * (record.height or 0)
            for box in record.boxes:
                number = self._numbers.get(box.label)
                if number is None:
                    self.unknown += 1
                    continue
                self.labels[box.label] += 1
                if area:
                    labels.append(number)
                    scores.append(box.score)
                    shares.append(max(0.0, box.width) * max(0.0, box.height) / area)
            self._choose(Shown(image, record))
        self.histograms.add(np.array(labels, np.int64), np.array(scores, np.float64), np.array(shares, np.float64))

    def part_of(self, key: str) -> PlanPart | None:
        """The part that an image belongs to if it was planned at all: keys are sorted by their bytes over all
        parts."""
        place = bisect_right(self._first_keys, key.encode()) - 1
        return self._parts[place] if place >= 0 else None

    def _choose(self, item: Shown) -> None:
        record = item.record
        draw = int.from_bytes(hashlib.sha256(record.image.encode()).digest()[:8])
        if record.status != "ok":
            self.failures.setdefault(record.status, Lowest(A_STATUS)).add(0.0, draw, item)
            return
        for label in {box.label for box in record.boxes}:
            if label in self.samples:
                self.samples[label].add(0.0, draw, item)
        if record.boxes:
            self.doubtful.add(min(doubt(box.score) for box in record.boxes), draw, item)


def doubt(score: float) -> float:
    """How far a score is from one half, where the detector says that it might as well be wrong: scores are calibrated
    probabilities, in steps of 0.0001."""
    return round(abs(score - 0.5), 4)
