"""Reads published runs of the batch job: a detector's boxes become labels, and labels that people corrected override
them.

A box from the least score of its label on is an object. A box below it, from `ignore_from` on, is ignored: the detector
was not sure, so that it should be learnt neither as an object nor as background. Lower boxes are background. Where
several runs have read an image, the last one counts, or all of them vote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from detector.common.errors import AnnotationError
from detector.common.file_names import escaped
from detector.common.progress import progress
from detector.data.formats.corrections import Target, match, override, read_corrections
from detector.data.formats.voting import Ballot, vote
from detector.data.frames import FrameRules
from detector.data.objects import AT_ONCE, LeftOut
from detector.data.places import Places
from detector.data.published import OK, Box, PublishedRun, Record
from detector.data.settings import ManifestsSource
from detector.data.stated import Drawn, Stated, Thing, state
from detector.runtime.geometry.boxes import iou
from detector.runtime.label_run import LabelRun

_FAILED = "{{}} image(s) were left out, because the run could not read them ({})"
_GONE = "{{}} image(s) were left out, because the version that the run has seen is not there any more ({})"
_SEVERAL = "{} image(s) are in several runs; their labels are those of the last one"
_VOTED = "{} image(s) are in several runs, which vote on their labels"
_OTHER_VERSION = "{} reading(s) of images have no vote, because a later run has read another version of the image"
_UNSURE = "{} box(es) with scores below the least are ignored: neither objects nor background"
_CUT_OFF = (
    "{} label(s) have no boxes below their least score, because the run kept none: an object of which the detector was "
    "not sure is background there. Make the run with a lower --min-score, as half of the artifact's operating score"
)
# An ignored box with this IoU with an object is another reading of the same object.
_SAME_OBJECT = 0.5


class _Row(NamedTuple):
    """One image: the numbers of the runs that its labels come from, the last run first; its version, its key below
    INPUT, and what was found."""

    runs: tuple[int, ...]
    etag: str | None
    key: str
    width: int
    height: int
    things: list[Thing]


def read(source: ManifestsSource, places: Places, seed: int, rules: FrameRules) -> dict[str, Stated]:
    """Read the images of all runs; all are of "train".

    An image has the name of INPUT's last folder and its key. Raises AnnotationError as `PublishedRun` does, if a least
    score is below what a run kept, if a corrected image is in no run, or if no image is left; and ArchiveError.
    """
    runs = [PublishedRun.open(run, take_rejected=source.take_rejected) for run in source.runs]
    least = _least_scores(source, runs)
    notes: Counter[str] = Counter()
    rows = _rows(source, runs, least, notes)
    names = _names(runs, rows)
    corrected = match(
        read_corrections(source, places, seed, rules, notes),
        {names[uri]: Target(uri, row.key, row.etag) for uri, row in rows.items()},
        notes,
    )
    files = _fetch(source, runs, {uri: row for uri, row in rows.items() if names[uri] not in corrected}, notes)
    drawn = [
        Drawn(path, names[uri], rows[uri].width, rows[uri].height, rows[uri].things) for uri, path in files.items()
    ]
    if not drawn and not corrected:
        reasons = " ".join(f"{note.format(f'{count:,}')}." for note, count in notes.items() if count)
        raise AnnotationError(f"{source.name()}: no image is left. {reasons}")
    notes[_UNSURE] = sum(thing.ignore for image in drawn for thing in image.things)
    classes = dict.fromkeys(label for run in runs for label in run.manifest.boxes)
    train = override(state(source.name(), drawn, notes, classes), corrected)
    taken = [[uri for uri in rows if number in rows[uri].runs] for number in range(len(runs))]
    origins = [
        LabelRun(
            uri=place,
            run=run.manifest.run,
            manifest_sha256=run.digest,
            artifact=run.manifest.lineage.artifact_name,
            artifact_sha256=run.manifest.lineage.artifact_sha256,
            images=sum(uri in files or names[uri] in corrected for uri in own),
            boxes=sum(not thing.ignore for uri in own if uri in files for thing in rows[uri].things),
            corrected=sum(names[uri] in corrected for uri in own),
            least_scores=scores,
        )
        for place, run, scores, own in zip(source.runs, runs, least, taken, strict=True)
    ]
    return {"train": replace(train, runs=tuple(origins))}


def recognise(data: Path) -> dict[str, Any] | None:
    """Return None if `data` is no published run. Raises AnnotationError if it is one: a detector's boxes alone make no
    project."""
    try:
        PublishedRun.open(str(data), take_rejected=True)
    except AnnotationError:  # there is none, or another program's
        return None
    raise AnnotationError(
        f"{data}: is a published run, whose boxes a detector has made. Val and test need labels that people have seen: "
        "begin with `detector init` and labelled images, and then add the run to fetch.sources as {format: manifests, "
        f"runs: [{data}]}}; docs/circle.md explains it"
    )


def _least_scores(source: ManifestsSource, runs: Sequence[PublishedRun]) -> list[dict[str, float]]:
    """Return the least score of an object by label, for each run."""
    known = dict.fromkeys(label for run in runs for label in run.manifest.boxes)
    stated = source.min_score
    if isinstance(stated, Mapping) and (unknown := [name for name in stated if name not in known]):
        raise AnnotationError(f"fetch.sources: min_score: no run has the label {unknown[0]!r}, only {', '.join(known)}")
    found = []
    for run in runs:
        kept = run.manifest.min_score
        scores = {}
        for label in run.manifest.boxes:
            wanted = stated.get(label) if isinstance(stated, Mapping) else stated
            if wanted is not None and wanted < kept:
                raise AnnotationError(
                    f"{run.place}: kept no box with a score below {kept:g}, so that min_score {wanted:g} for {label!r} "
                    f"would miss some: state at least {kept:g}, or make the run again with --min-score {wanted:g}"
                )
            if wanted is None:
                card = run.card
                general = kept if card.operating_score is None else card.operating_score
                wanted = max(kept, card.class_scores.get(label, general))
            scores[label] = wanted
        found.append(scores)
    return found


class _Reading(NamedTuple):
    """What one run, by its number, says of an image."""

    run: int
    record: Record


def _rows(
    source: ManifestsSource,
    runs: Sequence[PublishedRun],
    least: Sequence[Mapping[str, float]],
    notes: Counter[str],
) -> dict[str, _Row]:
    """Return the images that a run has read, by URI."""
    from_score = [
        {label: score / 2 if source.ignore_from is None else source.ignore_from for label, score in scores.items()}
        for scores in least
    ]
    for run, scores, ignored in zip(runs, least, from_score, strict=True):
        kept = run.manifest.min_score
        notes[_CUT_OFF] += sum(ignored[label] < scores[label] <= kept for label in run.manifest.boxes)
    rows: dict[str, _Row] = {}
    failed: dict[str, str] = {}
    for uri, readings in _readings(source.vote, runs, failed, notes):
        voters = [reading.run for reading in readings]
        rows[uri] = _row(runs, readings, _means(least, voters), _means(from_score, voters))
    for image, status in failed.items():
        notes[_FAILED.format(status)] += image not in rows
    return rows


def _means(scores: Sequence[Mapping[str, float]], runs: Sequence[int]) -> Mapping[str, float]:
    """Return each label's mean over these runs, of those that know it; the score of a fused box is such a mean too."""
    if len(runs) == 1:
        return scores[runs[0]]
    known = dict.fromkeys(label for run in runs for label in scores[run])
    return {label: round(fmean(scores[run][label] for run in runs if label in scores[run]), 4) for label in known}


def _readings(
    all_of_them: bool, runs: Sequence[PublishedRun], failed: dict[str, str], notes: Counter[str]
) -> Iterator[tuple[str, list[_Reading]]]:
    """Yield each image with its readings, the last run's first: that one alone, or all of the same version.

    Adds the images that a run could not read to `failed`, with their status.
    """
    seen: dict[str, list[_Reading]] = {}
    for number in reversed(range(len(runs))):
        run = runs[number]
        for record in progress(run.records(), run.manifest.images, f"read {run.place}"):
            reading = _Reading(number, record)
            if record.status != OK:
                failed.setdefault(record.image, record.status)
            elif record.image not in seen:
                seen[record.image] = [reading] if all_of_them else []  # what is given away at once is not kept
                if not all_of_them:
                    yield record.image, [reading]
            elif not all_of_them:
                notes[_SEVERAL] += 1
            elif _version(record) != _version(seen[record.image][0].record):
                notes[_OTHER_VERSION] += 1
            else:
                seen[record.image].append(reading)
    if all_of_them:
        notes[_VOTED] += sum(len(readings) > 1 for readings in seen.values())
        yield from seen.items()


def _version(record: Record) -> tuple[str | None, int | None, int | None]:
    """Return what two readings of the same pixels share: earlier versions of the job may have turned them otherwise."""
    return record.etag, record.width, record.height


def _row(
    runs: Sequence[PublishedRun],
    readings: Sequence[_Reading],
    least: Mapping[str, float],
    from_score: Mapping[str, float],
) -> _Row:
    for run, record in readings:
        where, labels = f"{runs[run].place}: image {record.image}", runs[run].manifest.boxes
        if record.width is None or record.height is None:
            raise AnnotationError(f"{where}: has the status {OK}, and no size")
        if unknown := [box.label for box in record.boxes if box.label not in labels]:
            raise AnnotationError(f"{where}: has the label {unknown[0]!r}, which the manifest does not count")
    number, record = readings[0]
    boxes, size = record.boxes, (record.width or 0, record.height or 0)
    if len(readings) > 1:
        boxes = vote([Ballot(runs[run].manifest.boxes, record.boxes) for run, record in readings])
    objects = [_thing(box, ignore=False) for box in boxes if box.score >= least[box.label]]
    unsure = [_thing(box, ignore=True) for box in boxes if from_score[box.label] <= box.score < least[box.label]]
    if objects and unsure:
        overlaps = iou(np.array([t.box for t in unsure], np.float32), np.array([t.box for t in objects], np.float32))
        unsure = [thing for thing, most in zip(unsure, overlaps.max(axis=1), strict=True) if most < _SAME_OBJECT]
    key = record.image.removeprefix(runs[number].manifest.input)
    return _Row(tuple(run for run, _ in readings), record.etag, key, *size, objects + unsure)


def _thing(box: Box, ignore: bool) -> Thing:
    return Thing(box.label, (box.x, box.y, box.x + box.width, box.y + box.height), ignore)


def _names(runs: Sequence[PublishedRun], rows: Mapping[str, _Row]) -> dict[str, str]:
    """Return the name of each image in the dataset by its URI. It does not change when other runs are added."""
    names: dict[str, str] = {}
    used: dict[str, str] = {}
    for uri, row in rows.items():
        folder = PurePosixPath(runs[row.runs[0]].manifest.input).name
        names[uri] = escaped(f"{folder}/{row.key}" if folder else row.key)
        if (other := used.setdefault(names[uri], uri)) != uri:
            raise AnnotationError(f"{uri}: {other} has the same name {names[uri]}: give each run a source of its own")
    return names


def _fetch(
    source: ManifestsSource, runs: Sequence[PublishedRun], rows: Mapping[str, _Row], notes: Counter[str]
) -> dict[str, Path]:
    """Return the file of each image that is still the version of its run, by URI; counts the others."""
    images = [run.images() for run in runs]
    cache = Path(source.cache) / "images"

    def fetch(uri: str) -> Path | str:
        row = rows[uri]
        try:
            return images[row.runs[0]].fetch(uri, row.etag, cache)
        except LeftOut as reason:
            return str(reason)

    files: dict[str, Path] = {}
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        results = zip(rows, pool.map(fetch, rows), strict=True)
        for uri, found in progress(results, len(rows), f"fetch {source.name()}"):
            if isinstance(found, Path):
                files[uri] = found
            else:
                notes[_GONE.format(found)] += 1
    finally:
        pool.shutdown(cancel_futures=True)
    return files
