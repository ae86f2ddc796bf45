"""Verdicts about a sample of a run, from the known objects in its images, as a careful person would give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from detector.runtime.geometry.boxes import iou, xywh_to_xyxy
from jobs.formats import BoxRecord, BoxVerdict, ImageVerdict, MissedObject, Record, Sample, Verdicts

# VOC's rule for a box that is right.
IOU = 0.5
# A box that overlaps an object of its label by less than this is not a bad box of that object: it is of nothing.
NEAR = 0.1


@dataclass(frozen=True)
class Known:
    """An object: its label, and its (x, y, width, height)."""

    label: str
    box: tuple[float, float, float, float]


def verdicts(
    sample: Sample, records: Iterable[Record], truth: Mapping[str, Sequence[Known]], reviewer: str = "truth"
) -> Verdicts:
    """What the truth says about every box and every whole image of a sample; truth: the objects by image."""
    wholes = {image.image for image in sample.images}
    drawn = {(box.image, box.number) for box in sample.boxes}
    boxes, images = [], []
    for record in records:
        if record.image not in wholes and not any(image == record.image for image, _ in drawn):
            continue
        said, missed = judge_image(record, truth.get(record.image, ()), set(sample.labels))
        boxes += [one for one in said if record.image in wholes or (one.image, one.number) in drawn]
        if record.image in wholes:
            images.append(ImageVerdict(image=record.image, missed=missed))
    return Verdicts(reviewer=reviewer, saved_at="2026-01-01T00:00:00.000Z", sample=sample, boxes=boxes, images=images)


def judge_image(
    record: Record, objects: Sequence[Known], labels: set[str]
) -> tuple[list[BoxVerdict], list[MissedObject]]:
    """The verdicts about the boxes of one image that have one of these labels, and the objects that no right box has.
    Boxes take objects in the order of their scores."""
    kept = [(number, box) for number, box in enumerate(record.boxes) if box.label in labels]
    overlap = _overlaps([box for _, box in kept], objects)
    free = np.ones(len(objects), bool)
    said: dict[int, BoxVerdict] = {}

    def judged(place: int, verdict: str, label: str | None = None) -> None:
        number = kept[place][0]
        said[place] = BoxVerdict.model_validate(
            {"image": record.image, "number": number, "verdict": verdict, "label": label}
        )

    for place, (_, box) in enumerate(kept):
        same = np.array([known.label == box.label for known in objects], bool) & free
        best = int(np.argmax(np.where(same, overlap[place], -1))) if len(objects) else -1
        if best >= 0 and same[best] and overlap[place, best] >= IOU:
            free[best] = False
            judged(place, "right")
    for place, (_, box) in enumerate(kept):
        if place in said:
            continue
        best = int(np.argmax(np.where(free, overlap[place], -1))) if free.any() else -1
        if best >= 0 and overlap[place, best] >= IOU:
            free[best] = False
            label = objects[best].label
            judged(place, "wrong_label", label if label in labels else None)
        elif any(known.label == box.label and overlap[place, at] >= NEAR for at, known in enumerate(objects)):
            judged(place, "badly_placed")
        else:
            judged(place, "not_an_object")
    missed = [
        MissedObject(label=known.label, x=known.box[0], y=known.box[1], width=known.box[2], height=known.box[3])
        for known, left in zip(objects, free, strict=True)
        if left and known.label in labels
    ]
    return [said[place] for place in range(len(kept))], missed


def _overlaps(boxes: Sequence[BoxRecord], objects: Sequence[Known]) -> np.ndarray:
    mine = np.array([[box.x, box.y, box.width, box.height] for box in boxes], np.float32).reshape(-1, 4)
    theirs = np.array([known.box for known in objects], np.float32).reshape(-1, 4)
    return iou(xywh_to_xyxy(mine), xywh_to_xyxy(theirs))
