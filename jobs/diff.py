"""What changed between two published runs: images, and boxes of each label.

Both runs' records lie in the order of their keys, so that they are read side by side, in the same memory for any number
of images.
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

# The overlap from which two boxes of one label are taken for the same object, as in AP@.5.
MATCHED = 0.5
# What another type of processor may change in the same boxes; scores are steps of .0001, whose differences are not.
SAME_PIXELS, SAME_SCORE = 0.5, 1e-3 + 1e-9
EXAMPLES = 20

BoxChange = Literal["rescored", "moved", "added", "lost"]
ImageChange = Literal["only_in_a", "only_in_b", "new_version", "other_status"]
BOX_CHANGES: tuple[BoxChange, ...] = ("rescored", "moved", "added", "lost")
IMAGE_CHANGES: tuple[ImageChange, ...] = ("only_in_a", "only_in_b", "new_version", "other_status")


class ComparedRun(FileModel):
    """One of the two runs."""

    output: str = Field(description="Its OUTPUT.")
    run: str = Field(description="Its name.")
    status: str = Field(description="valid or rejected.")
    planned_at: str = Field(description="When its listing was frozen, UTC, ISO 8601.")
    input: str = Field(description="The folder or S3 prefix that was listed.")
    images: int = Field(description="Images planned.")
    plan_digest: str = Field(description="SHA-256 of the plan's content, in hex.")
    artifact_name: str = Field(description="The detector's name.")
    artifact_sha256: str = Field(description="SHA-256 of model/model.json, in hex.")
    min_score: float = Field(description="Boxes with a lower score, 0 to 1, were dropped.")


class ImageExample(FileModel):
    """An image that one run has otherwise than the other."""

    image: str = Field(description="URI; that of run B, where both have it.")
    a: str | None = Field(description="Its status in run A; null where it is not there.")
    b: str | None = Field(description="Its status in run B; null where it is not there.")


class BoxExample(FileModel):
    """A box that one run has otherwise than the other; both have the image, with status ok."""

    image: str = Field(description="URI; that of run B.")
    label: str = Field(description="The label of the box.")
    a: BoxRecord | None = Field(description="The box in run A; null when it was added.")
    b: BoxRecord | None = Field(description="The box in run B; null when it was lost.")


class ImageCounts(FileModel):
    """Images by key below their run's input; an image may count as new_version and other_status."""

    both: int = Field(description="In both runs.")
    compared: int = Field(description="In both runs with status ok: only their boxes are compared.")
    only_in_a: int = Field(description="In run A only.")
    only_in_b: int = Field(description="In run B only.")
    new_version: int = Field(description="In both, with another ETag: the bytes have changed.")
    other_status: int = Field(description="In both, with another status.")


class LabelChanges(FileModel):
    """The boxes of one label in the images that are compared: a = same + rescored + moved + lost, and b likewise."""

    a: int = Field(description="Boxes in run A.")
    b: int = Field(description="Boxes in run B.")
    same: int = Field(description="Every edge within half a pixel, the score within 0.001.")
    rescored: int = Field(description="Every edge within half a pixel, another score.")
    moved: int = Field(description="An IoU of 0.5 or more, another edge; the score may differ too.")
    added: int = Field(description="In run B, without a box in run A that it matches.")
    lost: int = Field(description="In run A, without a box in run B that it matches.")


class Difference(VersionedModel):
    """What changed from run A to run B."""

    a: ComparedRun = Field(description="The run that was named first.")
    b: ComparedRun = Field(description="The run that was named second.")
    images: ImageCounts = Field(description="Counts of images.")
    labels: dict[str, LabelChanges] = Field(description="Boxes by label; every label of either run is there.")
    image_examples: dict[ImageChange, list[ImageExample]] = Field(description="The first ones by key; at most 20 each.")
    box_examples: dict[BoxChange, list[BoxExample]] = Field(description="The first ones by key; at most 20 each.")


@dataclass(frozen=True)
class BoxPair:
    """A box of run A and a box of run B that are taken for the same object; or one of them."""

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
    manifest = run.manifest
    return ComparedRun(
        output=run.store.uri,
        run=manifest.run,
        status=manifest.status,
        planned_at=manifest.planned_at,
        input=manifest.input,
        images=manifest.images,
        plan_digest=manifest.lineage.plan_digest,
        artifact_name=manifest.lineage.artifact_name,
        artifact_sha256=manifest.lineage.artifact_sha256,
        min_score=manifest.min_score,
    )


Keyed = Iterator[tuple[str, Record]]


def side_by_side(a: Keyed, b: Keyed) -> Iterator[tuple[Record | None, Record | None]]:
    """Two sorted streams as one: the records of each key, None for the run that does not have it.

    Python compares text by code points, which is the order of its UTF-8 bytes, and so that of plans.
    """
    merged = heapq.merge(
        ((key, "a", record) for key, record in a), ((key, "b", record) for key, record in b), key=itemgetter(0)
    )
    for _, same_key in groupby(merged, key=itemgetter(0)):
        found = {side: record for _, side, record in same_key}
        yield found.get("a"), found.get("b")


class DifferenceTally:
    """Counts and the first examples of what was seen so far."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.images = dict.fromkeys(ImageCounts.model_fields, 0)
        self.labels = {label: dict.fromkeys(LabelChanges.model_fields, 0) for label in labels}
        self.image_examples: dict[ImageChange, list[ImageExample]] = {change: [] for change in IMAGE_CHANGES}
        self.box_examples: dict[BoxChange, list[BoxExample]] = {change: [] for change in BOX_CHANGES}

    def add(self, a: Record | None, b: Record | None) -> None:
        """One image, which one of the runs has, or both."""
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
    """Every box of one image in exactly one pair, whose boxes have one label; those of `a` in their order, then what
    `b` has more."""
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
    """(N, 4) xyxy."""
    return xywh_to_xyxy(np.array([(box.x, box.y, box.width, box.height) for box in boxes], np.float32))


def _matches(a: Boxes, b: Boxes) -> Iterator[tuple[int, int]]:
    """Greedily, the pair with the best IoU first; of equal ones that of the better scores, which come first."""
    overlaps = iou(a, b)  # (N, M)
    # First of all those that lie in one place: of a thin box, half a pixel is a large part.
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
