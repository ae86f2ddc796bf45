"""Makes the statements of an audit from a run and the verdicts of people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.audit.agreement import agreement
from jobs.audit.counts import corrected_total
from jobs.audit.intervals import CONFIDENCE, Stratum, interval
from jobs.audit.threshold import STEPS, ScoredStratum, least_score
from jobs.audit.verdicts import NOT_JUDGED, UNCLEAR, BoxName, Given, Missed, Settled, answers, missed_objects, settle
from jobs.errors import UsageError
from jobs.formats import (
    VERDICTS,
    Audit,
    BoxStratum,
    CountStatement,
    DrawnBox,
    MissedStatement,
    PrecisionStatement,
    Record,
    Reviewer,
    Sample,
    ThresholdStatement,
    sha256,
)
from jobs.published_run import PublishedRun

# With fewer images in which people found an error, the normal approximation of a corrected count cannot be trusted.
LEAST_ERRORS = 20


@dataclass(frozen=True)
class Judged:
    """A run's sample with what people said about it.

    sizes: for each stratum of boxes, (STEPS + 1,) the number of the run's boxes with each score; records: of the drawn
    images; boxes: the settled verdicts; missed: of the images that are clear.
    """

    sample: Sample
    sizes: Mapping[str, NDArray[np.int64]]
    records: Mapping[str, Record]
    boxes: Mapping[BoxName, Settled]
    missed: Mapping[str, Missed]


def collect(run: PublishedRun, given: Sequence[Given]) -> Judged:
    """Read the run once, and settle the verdicts about its sample.

    Raises UsageError when the verdicts are not about this run, and what `PublishedRun.records` raises.
    """
    sample = given[0].verdicts.sample
    if sample.manifest_sha256 != run.digest:
        raise UsageError(
            f"{run.store.uri}: the verdicts are about another run, {sample.run}, or about an earlier manifest of it; "
            "draw a sample of this one with: boxcar audit draw"
        )
    sizes = {stratum.name: np.zeros(STEPS + 1, np.int64) for stratum in sample.box_strata}
    drawn = {(box.image, box.number): box for box in sample.boxes}
    wholes = {image.image for image in sample.images}
    by_label: dict[str, list[BoxStratum]] = {label: [] for label in sample.labels}
    for stratum in sample.box_strata:
        by_label.setdefault(stratum.label, []).append(stratum)
    records, found = {}, 0
    for record in run.records():
        if record.image in wholes:
            records[record.image] = record
        for number, box in enumerate(record.boxes):
            for stratum in by_label.get(box.label, ()):
                if box.score >= stratum.low and (stratum.high is None or box.score < stratum.high):
                    sizes[stratum.name][min(round(box.score * STEPS), STEPS)] += 1  # a rejected run may exceed 1
            there = drawn.get((record.image, number))
            found += there is not None and there.box == box
    judged = answers(given)
    for image, number in judged:
        boxes = records[image].boxes if image in records else None
        if boxes is not None and (number >= len(boxes) or boxes[number].label not in by_label):
            raise UsageError(f"{image}: has no box {number} to judge; save the verdicts again on the page of the audit")
    wrong = any(sizes[stratum.name].sum() != stratum.boxes for stratum in sample.box_strata)
    if wrong or found != len(drawn) or len(records) != len(wholes):
        raise UsageError(f"{run.store.uri}: does not have what was sampled from it; draw a new sample")
    return Judged(
        sample,
        sizes,
        records,
        {name: settle(said) for name, said in judged.items()},
        missed_objects(sample, given),
    )


def make_audit(
    run: PublishedRun, given: Sequence[Given], judged: Judged, precision: float | None, reject_below: float | None
) -> Audit:
    """The audit. precision: for which a score is looked for, above 0 and below 1, or None; reject_below: the precision
    of all boxes that must be shown, 0 to 1, or None."""
    sample = judged.sample
    groups = _labels([stratum.label for stratum in sample.box_strata if stratum.drawn])
    scores = sorted({stratum.low for stratum in sample.box_strata})
    statements = [_precision(judged, label, score) for score in scores for label in groups]
    statements = [statement for statement in statements if statement.drawn]
    rejected = reject_below is not None and statements[0].low < reject_below
    return Audit(
        run=sample.run,
        manifest_sha256=run.digest,
        sample_sha256=sha256(sample.pretty()),
        seed=sample.seed,
        labels=sample.labels,
        status="rejected" if rejected else "accepted",
        reject_below=reject_below,
        confidence=CONFIDENCE,
        reviewers=[
            Reviewer(
                name=one.verdicts.reviewer,
                sha256=one.digest,
                boxes=len(one.verdicts.boxes),
                images=len(one.verdicts.images),
            )
            for one in given
        ],
        agreement=agreement([verdict.verdict for verdict in said] for said in answers(given).values()),
        precision=statements,
        thresholds=[] if precision is None else [_threshold(run, judged, label, precision) for label in groups],
        missed=[_missed(judged, label) for label in _labels(sample.labels)] if sample.images else [],
        counts=[_count(judged, label) for label in _labels(sample.labels)] if sample.images else [],
    )


def _labels(labels: Sequence[str]) -> list[str | None]:
    """All labels together, and each by itself when there are several."""
    each = list(dict.fromkeys(labels))
    return [None, *(each if len(each) > 1 else [])]


def _strata(judged: Judged, label: str | None) -> list[tuple[BoxStratum, list[DrawnBox]]]:
    sample = judged.sample
    return [
        (stratum, [drawn for drawn in sample.boxes if drawn.stratum == stratum.name])
        for stratum in sample.box_strata
        if label in (None, stratum.label)
    ]


def _verdict(judged: Judged, image: str, number: int) -> str:
    settled = judged.boxes.get((image, number))
    return NOT_JUDGED if settled is None else settled.verdict


def _precision(judged: Judged, label: str | None, least: float) -> PrecisionStatement:
    """What is said about the boxes with scores of at least `least`, which no stratum has on both of its sides."""
    strata = [(stratum, boxes) for stratum, boxes in _strata(judged, label) if stratum.low >= least]
    counts = [Counter(_verdict(judged, drawn.image, drawn.number) for drawn in boxes) for _, boxes in strata]
    low, high = interval(
        [
            Stratum(stratum.boxes, stratum.drawn, count["right"], count[UNCLEAR] + count[NOT_JUDGED])
            for (stratum, _), count in zip(strata, counts, strict=True)
        ]
    )
    total = sum(counts, Counter[str]())
    return PrecisionStatement(
        label=label,
        min_score=least,
        boxes=sum(stratum.boxes for stratum, _ in strata),
        drawn=sum(stratum.drawn for stratum, _ in strata),
        verdicts={verdict: total[verdict] for verdict in (*VERDICTS, NOT_JUDGED)},
        low=low,
        high=high,
    )


def _threshold(run: PublishedRun, judged: Judged, label: str | None, precision: float) -> ThresholdStatement:
    strata = [
        ScoredStratum(
            judged.sizes[stratum.name],
            np.array([round(drawn.box.score * STEPS) for drawn in boxes], np.int64),
            np.array([_verdict(judged, drawn.image, drawn.number) == "right" for drawn in boxes], np.bool_),
        )
        for stratum, boxes in _strata(judged, label)
    ]
    found = least_score(strata, precision)
    if found is None:
        return ThresholdStatement(label=label, precision=precision, score=None, boxes=0)
    boxes = sum(int(stratum.sizes[found:].sum()) for stratum in strata)
    every = sum(int(stratum.sizes.sum()) for stratum in strata)
    score = run.manifest.min_score if boxes == every else found / STEPS
    return ThresholdStatement(label=label, precision=precision, score=score, boxes=boxes)


def _of(counts: Counter[str], label: str | None) -> int:
    return counts.total() if label is None else counts[label]


def _missed(judged: Judged, label: str | None) -> MissedStatement:
    sample = judged.sample
    least = [_of(missed.least, label) for missed in judged.missed.values()]
    sure = sum(count > 0 for count in least)
    possible = sum(_of(missed.most, label) > 0 for missed in judged.missed.values())
    unclear = possible - sure + len(sample.images) - len(judged.missed)
    low, high = interval([Stratum(sample.population, len(sample.images), sure, unclear)])
    return MissedStatement(
        label=label,
        images=sample.population,
        drawn=len(sample.images),
        with_missed=sure,
        objects=sum(least),
        unclear=unclear,
        low=low,
        high=high,
    )


def _count(judged: Judged, label: str | None) -> CountStatement:
    sample = judged.sample
    labels = sample.labels if label is None else [label]
    detected = sum(int(judged.sizes[s.name].sum()) for s in sample.box_strata if s.label in labels)
    found, least, most, errors = [], [], [], 0
    for image, missed in judged.missed.items():
        boxes = Counter(box.label for box in judged.records[image].boxes)
        found.append(sum(boxes[name] for name in labels))
        sure, possible, wrong = _objects(judged, image, missed)
        least.append(sum(sure[name] for name in labels))
        most.append(sum(possible[name] for name in labels))
        errors += any(wrong[name] or missed.least[name] for name in labels)
    estimate: float | None = None
    limits: tuple[float | None, float | None] = None, None
    reason = None
    if len(found) < len(sample.images):  # they may be those with the most objects
        reason = f"{len(sample.images) - len(found):,} of {len(sample.images):,} images are not judged, or not clear"
    elif errors < LEAST_ERRORS and len(found) < sample.population:
        reason = f"too few to say: errors in {errors:,} of {len(found):,} images, and {LEAST_ERRORS} are needed"
    else:
        low = corrected_total(least, found, sample.population, detected)
        high = corrected_total(most, found, sample.population, detected)
        estimate, limits = (low.estimate + high.estimate) / 2, (low.low, max(low.high, high.high))
    return CountStatement(
        label=label,
        detected=detected,
        drawn=len(found),
        with_errors=errors,
        estimate=estimate,
        low=limits[0],
        high=limits[1],
        reason=reason,
    )


def _objects(judged: Judged, image: str, missed: Missed) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """By label, the objects that an image has surely, and possibly, and its boxes that are surely not right."""
    sure, possible, wrong = missed.least.copy(), missed.most.copy(), Counter[str]()
    for number, box in enumerate(judged.records[image].boxes):
        if box.label not in judged.sample.labels:
            continue
        settled = judged.boxes.get((image, number), Settled(UNCLEAR))
        if settled.verdict == "right":
            sure[box.label] += 1
            possible[box.label] += 1
            continue
        if settled.verdict == UNCLEAR:
            possible[box.label] += 1
            continue
        wrong[box.label] += 1
        if settled.label is not None:
            sure[settled.label] += 1
            possible[settled.label] += 1
            wrong[settled.label] += 1
        elif settled.doubtful:
            possible.update(judged.sample.labels)
    return sure, possible, wrong
