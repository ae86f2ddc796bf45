"""The drawn images whose verdicts leave nothing open, with the boxes that they should have: labels to train on."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.audit.judge import Judged
from jobs.audit.verdicts import UNCLEAR, Settled
from jobs.convert import convert
from jobs.convert.names import Names
from jobs.formats import BoxRecord, Record
from jobs.published_run import PublishedRun
from jobs.sampling import copy_images


@dataclass(frozen=True)
class _CorrectedRun(PublishedRun):
    """A published run of which only some images are seen, as people corrected them, for the converters.

    corrected: their records in the run's order; names: those of their files, by URI; classes: the labels that the
    audit is about, because nobody looked for objects of others.
    """

    corrected: list[Record]
    names: Mapping[str, str]
    classes: list[str]

    def labels(self) -> list[str]:
        return self.classes

    def records(self) -> Generator[Record]:
        yield from self.corrected

    def key(self, record: Record) -> str:
        return self.names[record.image]


def write_corrected(run: PublishedRun, judged: Judged, folder: Path) -> tuple[int, list[Path]]:
    """Write the complete images to FOLDER/images, and their labels to FOLDER/RUN.coco.json, whose boxes have the score
    1; returns how many images there are, and the paths.

    An image is complete when all its boxes have a clear verdict, and each missed object has a box. Images that have
    changed or are gone are left out. Raises what `copy_images` and `convert` raise.
    """
    complete = {
        record.image: record.model_copy(update={"boxes": boxes})
        for record in judged.records.values()
        if (boxes := _corrected(judged, record)) is not None
    }
    wanted = [image for image in judged.sample.images if image.image in complete]
    images = folder / "images"
    copied = copy_images(run, judged.sample.model_copy(update={"images": wanted}), images)
    there = {image.image for image in copied.images if image.left_out is None}
    records = [record for image, record in complete.items() if image in there]
    names = Names()  # in the run's order, as the copies got theirs
    files = {record.image: "".join(names.name(run.key(record))) for record in records}
    whole = _CorrectedRun(run.store, run.manifest, run.digest, records, files, judged.sample.labels)
    return len(records), [images, *convert(whole, "coco-annotations", folder)]


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
