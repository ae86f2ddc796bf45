"""Draws boxes of a published run, by label and by score."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.errors import UsageError
from jobs.formats import BoxRecord, BoxStratum, DrawnBox, Record, Sample
from jobs.published_run import PublishedRun
from jobs.sampling.draw import draw

# How much more often a box at or above the operating score is drawn, in a run that keeps lower ones. Most of those are
# wrong, and they are many; they stay in the draw, so that something can be said about them too.
EMPHASIS = 4.0


@dataclass(frozen=True)
class _Bounds:
    """The boxes of a stratum: their label, and scores from `low` to below `high`."""

    label: str
    low: float
    high: float | None

    @property
    def name(self) -> str:
        return f"label {self.label}, score from {self.low:g}" + (
            "" if self.high is None else f" to below {self.high:g}"
        )


def draw_boxes(run: PublishedRun, sample: Sample, count: int, labels: Sequence[str]) -> Sample:
    """Add `count` boxes of these labels, or all if there are fewer, to a sample of the run's images.

    labels: all labels of the run if none are given. Within a label, on either side of the artifact's operating score,
    every set of boxes is equally likely. Raises UsageError for a label that the run does not have, or when there are
    no boxes, and what `PublishedRun.records` raises.
    """
    known = run.labels()
    if unknown := sorted(set(labels) - set(known)):
        raise UsageError(f"--labels {unknown[0]}: not a label of this run; it has {', '.join(known)}")
    chosen = [label for label in known if label in labels] if labels else known
    least, operating = run.manifest.min_score, run.operating_score()
    split = operating if least < operating else None
    strata = {bounds.name: bounds for label in chosen for bounds in _strata(label, least, split)}
    above = {(bounds.label, bounds.high is None): name for name, bounds in strata.items()}

    def items() -> Iterator[tuple[str, str, tuple[Record, int, BoxRecord]]]:
        for record in run.records():
            for number, box in enumerate(record.boxes):
                name = above.get((box.label, split is None or box.score >= split))
                if name is not None and box.score >= least:  # a rejected run may have lower scores
                    yield f"{number} {record.image}", name, (record, number, box)

    emphasis = {name: EMPHASIS for name, bounds in strata.items() if split is not None and bounds.high is None}
    found = draw(items(), count, f"{sample.seed} boxes", emphasis)
    if not found:
        raise UsageError(f"{run.store.uri}: no boxes of these labels to draw: {', '.join(chosen)}")
    boxes = [
        DrawnBox(
            image=record.image,
            etag=record.etag,
            number=number,
            box=box,
            stratum=stratum.name,
            probability=len(stratum.drawn) / stratum.size,
            left_out=None,
        )
        for stratum in found
        for record, number, box in stratum.drawn.values()
    ]
    return sample.model_copy(
        update={
            "labels": chosen,
            "box_strata": [
                BoxStratum(
                    name=stratum.name,
                    label=strata[stratum.name].label,
                    low=strata[stratum.name].low,
                    high=strata[stratum.name].high,
                    boxes=stratum.size,
                    drawn=len(stratum.drawn),
                )
                for stratum in found
            ],
            "boxes": sorted(boxes, key=lambda drawn: _order(sample.seed, drawn)),
        }
    )


def _strata(label: str, least: float, split: float | None) -> list[_Bounds]:
    if split is None:
        return [_Bounds(label, least, None)]
    return [_Bounds(label, split, None), _Bounds(label, least, split)]


def _order(seed: int, drawn: DrawnBox) -> bytes:
    return hashlib.sha256(f"{seed} order\n{drawn.number} {drawn.image}".encode()).digest()
