"""Counts over a run's parts, made in one pass for the manifest, the drift rules and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from detector.runtime.baseline import Histograms
from jobs.box_arrays import box_arrays
from jobs.formats import PartEntry, Record
from jobs.parts import WholePart, records_key


class Tally:
    """The sums over all parts of a run.

    parts: as the manifest lists them; statuses, labels: number of records and of boxes of each; detected: images with
    boxes; histograms: boxes whose label the artifact has, in images of a known size.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        """classes: those of the artifact."""
        self.classes = tuple(classes)
        self.parts: list[PartEntry] = []
        self.statuses: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.detected = 0
        self.histograms = Histograms(len(classes))
        self.cpu_seconds = 0.0
        self.bytes_read = 0
        self.onnxruntime: set[str] = set()
        self.devices: set[str] = set()
        self._numbers = {label: number for number, label in enumerate(classes)}

    def add(self, part: WholePart) -> None:
        """Add one part."""
        stats = part.stats
        self.parts.append(
            PartEntry(key=records_key(part.part), count=len(part.records), bytes=part.bytes, sha256=stats.sha256)
        )
        self.cpu_seconds += stats.cpu_seconds
        self.bytes_read += stats.bytes_read
        self.onnxruntime.add(stats.onnxruntime)
        self.devices.add(stats.device)
        self.add_records(part.records)

    def add_records(self, records: Sequence[Record]) -> None:
        """Count records and their boxes."""
        for record in records:
            self.statuses[record.status] += 1
            self.detected += bool(record.boxes)
            self.labels.update(box.label for box in record.boxes)
        boxes = box_arrays(records, self._numbers)
        self.histograms.add(boxes.labels, boxes.scores, boxes.shares)

    @property
    def unknown(self) -> int:
        """Boxes with a label that the artifact does not have."""
        return sum(count for label, count in self.labels.items() if label not in self._numbers)
