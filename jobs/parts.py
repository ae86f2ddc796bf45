"""A part as it lies in OUTPUT: where it is, and whether it is whole.

The worker (skip or make it?) and `finish` (publish it?) ask the same question, so that they can never disagree.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from jobs.errors import UsageError
from jobs.formats import (
    OtherSchemaError,
    PartStats,
    Plan,
    PlannedImage,
    PlanPart,
    Record,
    decode_lines,
    read,
    sha256,
    summary,
)
from jobs.plan import decode_planned, planned_key
from jobs.progress import Progress
from jobs.storage import Store, read_ahead


def records_key(part: PlanPart) -> str:
    """Where a part's records lie, relative to OUTPUT; nothing else lies in boxes/, which people query as a whole."""
    return f"boxes/{part.name}.jsonl"


def stats_key(part: PlanPart) -> str:
    """Where a part's statistics lie, relative to OUTPUT; written after the records."""
    return f"stats/{part.name}.json"


@dataclass(frozen=True)
class WholePart:
    """A part that holds exactly one record for each planned image, in the plan's order."""

    records: list[Record]
    stats: PartStats
    bytes: int


@dataclass(frozen=True)
class Flaw:
    """Why a part is not whole; making it again mends it."""

    reason: str


def decode_stats(plan: Plan, part: PlanPart, data: bytes | None) -> PartStats | Flaw:
    """What the maker of a part noted when it was done, from what lies at its key."""
    if data is None:
        return Flaw("missing")
    try:
        stats = read(PartStats, data)
    except ValidationError as error:
        return Flaw(f"its statistics cannot be read: {summary(error)}")
    return stats if (stats.run, stats.part) == (plan.run, part.name) else Flaw(f"belongs to run {stats.run}")


@dataclass(frozen=True)
class FoundPart:
    """A part's planned images, and what OUTPUT has of it."""

    part: PlanPart
    images: list[PlannedImage]
    found: WholePart | Flaw


def find_parts(output: Store, plan: Plan, parts: Sequence[PlanPart]) -> Iterator[FoundPart]:
    """Each of `parts`, in order, held against its digest and the plan; several are read at a time.

    Raises UsageError when the plan is damaged, or a part is of another schema version: making it again would be wrong.
    """
    keys = (key for part in parts for key in (planned_key(part), stats_key(part), records_key(part)))
    with contextlib.closing(read_ahead(output, keys)) as data:
        for part in parts:
            images = decode_planned(output, part, next(data))
            stats = decode_stats(plan, part, next(data))
            records = next(data)
            try:
                found = stats if isinstance(stats, Flaw) else _hold_against(plan, images, stats, records)
            except OtherSchemaError as error:
                raise UsageError(f"{output.uri}{records_key(part)}: {error}") from error
            yield FoundPart(part, images, found)


def _hold_against(plan: Plan, images: list[PlannedImage], stats: PartStats, data: bytes | None) -> WholePart | Flaw:
    if data is None:
        return Flaw("missing")
    if sha256(data) != stats.sha256:
        return Flaw("changed since it was written")
    try:
        records = decode_lines(Record, data)
    except OtherSchemaError:
        raise
    except ValueError as error:
        return Flaw(str(error))
    if [record.image for record in records] != [plan.input + image.key for image in images]:
        return Flaw("its images are not those of the plan")
    if any(not _is_of(record, image) for record, image in zip(records, images, strict=True)):
        return Flaw("holds records of other versions than were planned")
    if any(record.run != plan.run for record in records):
        return Flaw("holds records of another run")
    return WholePart(records, stats, len(data))


def _is_of(record: Record, image: PlannedImage) -> bool:
    """Whether a record is about the planned bytes; a folder's plan has no ETag."""
    return record.bytes == image.size and image.etag in (None, record.etag)


def missing_parts(
    output: Store, plan: Plan, parts: Sequence[PlanPart], progress: Progress
) -> Iterator[tuple[PlanPart, list[PlannedImage]]]:
    """Those of `parts` that are to be made, with their images; `progress` hears of the others."""
    for item in find_parts(output, plan, parts):
        if isinstance(item.found, WholePart):
            progress.part(item.found.stats, skipped=True)
        else:
            yield item.part, item.images
