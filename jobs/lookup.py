"""Finds the record of one image in a published run."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.errors import UsageError
from jobs.formats import PartEntry, Plan, PlannedImage, PlanPart, Record
from jobs.parts import records_key
from jobs.plan import decode_planned, planned_key
from jobs.published_run import MANIFEST, PublishedRun, published_records
from jobs.storage import Store


@dataclass(frozen=True)
class FoundRecord:
    """A record, the image that was planned for it, and its place: a line, from 1, of a part of the manifest."""

    record: Record
    planned: PlannedImage
    entry: PartEntry
    line: int


def find_record(run: PublishedRun, plan: Plan, image: str) -> FoundRecord:
    """The record of an image; image: a URI, or a key below INPUT.

    Raises UsageError when it was not planned, or its part is not the one that was published.
    """
    key = image.removeprefix(plan.input)
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{image!r}: the name is not UTF-8, so that no image of a run has it") from error
    part, images = _part_of(run.store, plan, key)
    line = next((number for number, planned in enumerate(images, start=1) if planned.key == key), None)
    if part is None or line is None:
        raise UsageError(f"{image}: not an image of run {plan.run}, whose INPUT is {plan.input}; check the key")
    entry = next((entry for entry in run.manifest.parts if entry.key == records_key(part)), None)
    if entry is None:
        raise UsageError(
            f"{run.store.uri}{MANIFEST}: lists no {part.name}; publish with: boxcar finish {run.store.uri}"
        )
    try:
        record = published_records(entry, run.store.read(entry.key))[line - 1]
    except ValueError as error:
        raise UsageError(f"{run.store.uri}{entry.key}: {error}; put the published part back") from error
    return FoundRecord(record, images[line - 1], entry, line)


def _part_of(output: Store, plan: Plan, key: str) -> tuple[PlanPart | None, list[PlannedImage]]:
    """The part that holds a key if any does, by bisection: keys increase from part to part in their UTF-8 bytes."""
    low, high = 0, len(plan.parts)
    while low < high:
        middle = (low + high) // 2
        part = plan.parts[middle]
        images = decode_planned(output, part, output.read(planned_key(part)))
        if key.encode() < images[0].key.encode():
            high = middle
        elif key.encode() > images[-1].key.encode():
            low = middle + 1
        else:
            return part, images
    return None, []
