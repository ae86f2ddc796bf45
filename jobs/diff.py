"""What changed between two published runs: images, and boxes of each label.

The records of both runs are sorted by key, so they are read side by side, and memory does not grow with the runs.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Literal

import numpy as np
from pydantic import Field

from detector.runtime.geometry.boxes import Boxes, iou, xywh_to_xyxy
from jobs.formats import BoxRecord, FileModel, Record, VersionedModel
from jobs.published_run import PublishedRun

# From this overlap on, two boxes of one label count as the same object, as in AP@.5.
MATCHED = 0.5
# Another type of processor may change the same boxes by this much. Scores are steps of .0001; their differences are
# not exact in binary, so a little is added.
SAME_PIXELS, SAME_SCORE = 0.5, 1e-3 + 1e-9
EXAMPLES = 20

BoxChange = Literal["rescored", "moved", "added", "lost"]
ImageChange = Literal["only_in_a", "only_in_b", "new_version", "other_status"]
BOX_CHANGES: tuple[BoxChange, ...] = ("rescored", "moved", "added", "lost")
IMAGE_CHANGES: tuple[ImageChange, ...] = ("only_in_a", "only_in_b", "new_version", "other_status")


class ComparedRun(FileModel):
    """One of the two runs."""

    output: str = Field(description="OUTPUT of the run.")
    run: str = Field(description="Name of the run.")
    status: str = Field(description="valid or rejected.")
    planned_at: str = Field(description="When the listing was frozen, UTC, ISO 8601.")
    input: str = Field(description="The folder or S3 prefix that was listed.")
    images: int = Field(description="Images planned.")
    plan_digest: str = Field(description="SHA-256 of the plan's content, in hex.")
    artifact_name: str = Field(description="The detector's name.")
    artifact_sha256: str = Field(description="SHA-256 of model/model.json, in hex.")
    min_score: float = Field(description="Boxes with a lower score, 0 to 1, were dropped.")


class ImageExample(FileModel):
    """An image that differs between the runs."""

    image: str = Field(description="URI of the image; that in run B, where both runs have it.")
    a: str | None = Field(description="Status in run A; null where the image is not there.")
    b: str | None = Field(description="Status in run B; null where the image is not there.")


class BoxExample(FileModel):
    """A box that differs between the runs; both have the image, with status ok."""

    image: str = Field(description="URI of the image in run B.")
    label: str = Field(description="The label of the box.")
    a: BoxRecord | None = Field(description="The box in run A; null when it was added.")
    b: BoxRecord | None = Field(description="The box in run B; null when it was lost.")


class ImageCounts(FileModel):
    """Counts of images, paired by their key below INPUT; one image may count as new_version and as other_status."""

    both: int = Field(description="Images in both runs.")
    compared: int = Field(description="Images that are ok in both runs; only their boxes are compared.")
    only_in_a: int = Field(description="Images in run A only.")
    only_in_b: int = Field(description="Images in run B only.")
    new_version: int = Field(description="Images in both runs whose ETag differs: the bytes have changed.")
    other_status: int = Field(description="Images in both runs whose status differs.")


class LabelChanges(FileModel):
    """Counts of boxes of one label in the compared images: a = same + rescored + moved + lost, and b likewise."""

    a: int = Field(description="Boxes in run A.")
    b: int = Field(description="Boxes in run B.")
    same: int = Field(description="Boxes with every edge within half a pixel and the score within 0.001.")
    rescored: int = Field(description="Boxes with every edge within half a pixel and another score.")
    moved: int = Field(description="Boxes with an IoU of 0.5 or more and another edge; the score may differ too.")
    added: int = Field(description="Boxes in run B that match no box in run A.")
    lost: int = Field(description="Boxes in run A that match no box in run B.")


class Difference(VersionedModel):
    """The differences between run A and run B."""

    a: ComparedRun = Field(description="The run that was named first.")
    b: ComparedRun = Field(description="The run that was named second.")
    images: ImageCounts = Field(description="Counts of images.")
    labels: dict[str, LabelChanges] = Field(description="Counts for each label of either run.")
    image_examples: dict[ImageChange, list[ImageExample]] = Field(
        description="The first examples of each change by key; at most 20."
    )
    box_examples: dict[BoxChange, list[BoxExample]] = Field(
        description="The first examples of each change by key; at most 20."
    )


@dataclass(frozen=True)
class BoxPair:
    """A box of run A and a box of run B that count as the same object, or a box that has no partner."""

    kind: Literal["same", "rescored", "moved", "added", "lost"]
    label: str
    a: BoxRecord | None
    b: BoxRecord | None


def diff(a: PublishedRun, b: PublishedRun) -> Difference:
    """Compare two runs image by image; raises what `PublishedRun.records` raises."""
    tally = DifferenceTally([*dict.fromkeys([*a.manifest.boxes, *b.manifest.boxes])])
    with contextlib.closing(a.records()) as first, contextlib.closing(b.records()) as second:
        for before, after in side_by_side(
            ((a.key(record), record) for record in first), ((b.key(record), record) for record in second)
        ):
            tally.add(before, after)
    return Difference(
        a=_side(a),
        b=_side(b),
        images=ImageCounts(**tally.images),
        labels={label: LabelChanges(**counts) for label, counts in tally.labels.items()},
        image_examples=tally.image_examples,
        box_examples=tally.box_examples,
    )


def _side(run: PublishedRun) -> ComparedRun:
    """The fields of a run's manifest and lineage that are compared."""
    known = dict(run.manifest) | dict(run.manifest.lineage) | {"output": run.store.uri}
    return ComparedRun(**{name: known[name] for name in ComparedRun.model_fields})


Keyed = Iterator[tuple[str, Record]]


def side_by_side(a: Keyed, b: Keyed) -> Iterator[tuple[Record | None, Record | None]]:
    """Pairs of records with the same key from two sorted streams; None for the run that does not have the key.

    Python compares text by code points. That is the order of its UTF-8 bytes, in which plans are sorted.
    """
    merged = heapq.merge(
        ((key, "a", record) for key, record in a), ((key, "b", record) for key, record in b), key=itemgetter(0)
    )
    for _, same_key in groupby(merged, key=itemgetter(0)):
        found = {side: record for _, side, record in same_key}
        yield found.get("a"), found.get("b")


class DifferenceTally:
    """The counts and the first examples of the images compared so far."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.images = dict.fromkeys(ImageCounts.model_fields, 0)
        self.labels = {label: dict.fromkeys(LabelChanges.model_fields, 0) for label in labels}
        self.image_examples: dict[ImageChange, list[ImageExample]] = {change: [] for change in IMAGE_CHANGES}
        self.box_examples: dict[BoxChange, list[BoxExample]] = {change: [] for change in BOX_CHANGES}

    def add(self, a: Record | None, b: Record | None) -> None:
        """Add one image that one or both of the runs have."""
        if a is not None and b is not None:
            self._add_both(a, b)
        elif a is not None:
            self._image("only_in_a", ImageExample(image=a.image, a=a.status, b=None))
        elif b is not None:
            self._image("only_in_b", ImageExample(image=b.image, a=None, b=b.status))

    def _add_both(self, a: Record, b: Record) -> None:
        self.images["both"] += 1
        image = ImageExample(image=b.image, a=a.status, b=b.status)
        if a.etag is not None and b.etag is not None and a.etag != b.etag:
            self._image("new_version", image)
        if a.status != b.status:
            self._image("other_status", image)
        elif a.status == "ok":
            self.images["compared"] += 1
            for pair in compare_boxes(a.boxes, b.boxes):
                self._box(b.image, pair)

    def _image(self, change: ImageChange, image: ImageExample) -> None:
        self.images[change] += 1
        if len(self.image_examples[change]) < EXAMPLES:
            self.image_examples[change].append(image)

    def _box(self, image: str, pair: BoxPair) -> None:
        counts = self.labels.setdefault(pair.label, dict.fromkeys(LabelChanges.model_fields, 0))
        counts["a"] += pair.a is not None
        counts["b"] += pair.b is not None
        counts[pair.kind] += 1
        if pair.kind != "same" and len(self.box_examples[pair.kind]) < EXAMPLES:
            self.box_examples[pair.kind].append(BoxExample(image=image, label=pair.label, a=pair.a, b=pair.b))


def compare_boxes(a: Sequence[BoxRecord], b: Sequence[BoxRecord]) -> list[BoxPair]:
    """Pairs that hold every box of one image exactly once: first the boxes of `a` in their order, then the boxes that
    only `b` has. Both boxes of a pair have the same label."""
    if a == b:  # most images of two runs of one artifact
        return [BoxPair("same", box.label, box, box) for box in a]
    partner: dict[int, int] = {}
    for label in {box.label for box in a} & {box.label for box in b}:
        ours = [index for index, box in enumerate(a) if box.label == label]
        theirs = [index for index, box in enumerate(b) if box.label == label]
        for i, j in _matches(_edges([a[index] for index in ours]), _edges([b[index] for index in theirs])):
            partner[ours[i]] = theirs[j]
    pairs = []
    for index, box in enumerate(a):
        if index in partner:
            other = b[partner[index]]
            pairs.append(BoxPair(_kind(box, other), box.label, box, other))
        else:
            pairs.append(BoxPair("lost", box.label, box, None))
    matched = set(partner.values())
    return pairs + [BoxPair("added", box.label, None, box) for index, box in enumerate(b) if index not in matched]


def _edges(boxes: Sequence[BoxRecord]) -> Boxes:
    """The boxes as an array (N, 4) xyxy."""
    return xywh_to_xyxy(np.array([(box.x, box.y, box.width, box.height) for box in boxes], np.float32))


def _matches(a: Boxes, b: Boxes) -> Iterator[tuple[int, int]]:
    """Matching pairs of indices, chosen greedily: the best IoU first, and among equal ones the better scores first."""
    overlaps = iou(a, b)  # (N, M)
    # Boxes in the same place come first: half a pixel is a large part of a thin box.
    overlaps += (np.abs(a[:, None] - b[None]) <= SAME_PIXELS).all(axis=2)
    pairs = np.argwhere(overlaps >= MATCHED)  # in the order of `a`, then of `b`
    best_first = np.argsort(-overlaps[pairs[:, 0], pairs[:, 1]], kind="stable")
    left, right = set(range(len(a))), set(range(len(b)))
    for i, j in pairs[best_first].tolist():
        if i in left and j in right:
            left.remove(i)
            right.remove(j)
            yield i, j


def _kind(a: BoxRecord, b: BoxRecord) -> Literal["same", "rescored", "moved"]:
    edges = (a.x - b.x, a.y - b.y, a.x + a.width - b.x - b.width, a.y + a.height - b.y - b.height)
    if max(map(abs, edges)) > SAME_PIXELS:
        return "moved"
    return "same" if abs(a.score - b.score) <= SAME_SCORE else "rescored"
