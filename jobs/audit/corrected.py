"""The drawn images whose verdicts leave nothing open, with the boxes that they should have: labels to train on."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from jobs.audit.judge import Judged
from jobs.audit.verdicts import UNCLEAR, Settled
from jobs.formats import BoxRecord, Record
from jobs.published_run import PublishedRun


@dataclass(frozen=True)
class CorrectedRun(PublishedRun):
    """A published run of which only completely audited images are seen, as people corrected them, for the converters.

    An image is complete when all its boxes have a clear verdict, and each missed object has a box.
    """

    judged: Judged

    @classmethod
    def of(cls, run: PublishedRun, judged: Judged) -> CorrectedRun:
        """The complete images of a run's audit."""
        return cls(run.store, run.manifest, run.digest, judged)

    def labels(self) -> list[str]:
        """The labels that the audit is about: nobody looked for objects of others."""
        return self.judged.sample.labels

    def records(self) -> Generator[Record]:
        """The corrected records, by URI; each box has the score 1."""
        for record in self.judged.records.values():
            boxes = _corrected(self.judged, record)
            if boxes is not None:
                yield record.model_copy(update={"boxes": boxes})


def _corrected(judged: Judged, record: Record) -> list[BoxRecord] | None:
    missed = judged.missed.get(record.image)
    if missed is None or (missed.objects is None and missed.most.total()):
        return None
    boxes = []
    for number, box in enumerate(record.boxes):
        if box.label not in judged.sample.labels:
            continue
        settled = judged.boxes.get((record.image, number), Settled(UNCLEAR))
        if settled.verdict == UNCLEAR or settled.doubtful:
            return None
        label = box.label if settled.verdict == "right" else settled.label
        if label is not None:
            boxes.append(box.model_copy(update={"label": label, "score": 1.0}))
    for item in missed.objects or []:
        if not (item.sure and item.width and item.height):
            return None
        boxes.append(BoxRecord(label=item.label, score=1.0, x=item.x, y=item.y, width=item.width, height=item.height))
    return boxes
