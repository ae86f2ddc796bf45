"""A part in OUTPUT: where it lies, and whether it is whole.

The worker asks this to skip a part or make it, and `finish` to publish it or not. Both use this code, so they agree.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from jobs.errors import StorageError, UsageError
from jobs.formats import (
    OtherSchemaError,
    PartStats,
    Plan,
    PlannedImage,
    PlanPart,
    Record,
    decode_lines,
    encode_lines,
    read,
    sha256,
    summary,
)
from jobs.plan import decode_planned, planned_key
from jobs.progress import TerminalProgress
from jobs.storage import Store, read_ahead

# Each try ends with the records of one worker, unless somebody removes them at the same moment.
_TRIES = 3


def records_key(part: PlanPart) -> str:
    """The key of a part's records below OUTPUT. Nothing else lies in boxes/, because people query all of it at once."""
    return f"boxes/{part.name}.jsonl"


def stats_key(part: PlanPart) -> str:
    """The key of a part's statistics below OUTPUT. They are written after the records."""
    return f"stats/{part.name}.json"


@dataclass(frozen=True)
class WholePart:
    """A part that holds exactly one record for each planned image, in the plan's order."""

    part: PlanPart
    images: list[PlannedImage]
    records: list[Record]
    stats: PartStats
    bytes: int


@dataclass(frozen=True)
class Flaw:
    """A part that is missing or damaged, and why. Making it again repairs it."""

    part: PlanPart
    images: list[PlannedImage]
    reason: str


def decode_stats(plan: Plan, part: PlanPart, data: bytes | None) -> PartStats:
    """The statistics of a part, from the bytes at its key; raises ValueError with a reason when there are none."""
    if data is None:
        raise ValueError("missing")
    try:
        stats = read(PartStats, data)
    except ValidationError as error:
        raise ValueError(f"its statistics cannot be read: {summary(error)}") from error
    if (stats.run, stats.part) != (plan.run, part.name):
        raise ValueError(f"belongs to run {stats.run}")
    return stats


def find_parts(output: Store, plan: Plan, parts: Sequence[PlanPart]) -> Iterator[WholePart | Flaw]:
    """Each of `parts`, in order, checked against its digest and the plan; several are read at a time.

    Raises UsageError when the plan is damaged, or a part is of another schema version: making it again would be wrong.
    """
    keys = (key for part in parts for key in (planned_key(part), stats_key(part), records_key(part)))
    with contextlib.closing(read_ahead(output, keys)) as data:
        for part in parts:
            images = decode_planned(output, part, next(data))
            yield _check(output, plan, part, images, next(data), next(data))


def find_part(output: Store, plan: Plan, part: PlanPart, images: list[PlannedImage]) -> WholePart | Flaw:
    """One part whose planned images are known. Takes a single request while the part is not there."""
    stats = output.read(stats_key(part))
    return _check(output, plan, part, images, stats, None if stats is None else output.read(records_key(part)))


def _check(
    output: Store, plan: Plan, part: PlanPart, images: list[PlannedImage], stats: bytes | None, records: bytes | None
) -> WholePart | Flaw:
    try:
        found = decode_stats(plan, part, stats)
        return WholePart(part, images, _checked_records(plan, images, found, records), found, len(records or b""))
    except OtherSchemaError as error:
        raise UsageError(f"{output.uri}{records_key(part)}: {error}") from error
    except ValueError as error:
        return Flaw(part, images, str(error))


def _checked_records(plan: Plan, images: list[PlannedImage], stats: PartStats, data: bytes | None) -> list[Record]:
    """The records of a part; raises ValueError with a reason when they are not what was planned and written."""
    if data is None:
        raise ValueError("missing")
    if sha256(data) != stats.sha256:
        raise ValueError("changed since it was written")
    return planned_records(plan, images, data)


def planned_records(plan: Plan, images: list[PlannedImage], data: bytes) -> list[Record]:
    """The records in a part's bytes; raises ValueError with a reason when they are not those of the planned images."""
    records = decode_lines(Record, data)
    if [record.image for record in records] != [plan.input + image.key for image in images]:
        raise ValueError("its images are not those of the plan")
    if any(not _is_of(record, image) for record, image in zip(records, images, strict=True)):
        raise ValueError("holds records of other versions than were planned")
    if any(record.run != plan.run for record in records):
        raise ValueError("holds records of another run")
    return records


def _is_of(record: Record, image: PlannedImage) -> bool:
    """Whether a record is of the planned version of an image; a folder's plan has no ETag."""
    return record.bytes == image.size and image.etag in (None, record.etag)


def write_records(
    output: Store, plan: Plan, part: PlanPart, images: list[PlannedImage], records: list[Record]
) -> tuple[list[Record], bytes]:
    """Write a part's records unless another worker's are there; returns those that stay, and their bytes.

    A GPU, or another processor, may give other bytes, and what is there may be published already. So whole records
    stay, unless their statistics show that they were changed after they were written. Statistics are written after
    the records, and of the records that stay; old ones are made void before, so that they cannot speak against new
    records.

    Raises UsageError when the records there are of another schema version, and StorageError when something else changes
    what is written.
    """
    key = records_key(part)
    try:
        for _ in range(_TRIES):
            there = output.read_version(key)
            if there is None or not _may_stay(output, plan, part, images, there.data):
                if output.read(stats_key(part)) is not None:
                    output.write(stats_key(part), _void(b"" if there is None else there.data))
                output.swap(key, encode_lines(records), None if there is None else there.etag)
                # A store may not know conditions, so that only what is there now is certain.
                there = output.read_version(key)
            if there is not None and (standing := _whole(plan, images, there.data)) is not None:
                return standing, there.data
    except OtherSchemaError as error:
        raise UsageError(f"{output.uri}{key}: {error}") from error
    raise StorageError(f"{output.uri}{key}: does not hold what was written; find out what else writes there")


def _may_stay(output: Store, plan: Plan, part: PlanPart, images: list[PlannedImage], data: bytes) -> bool:
    """Whether records that are there may stay: they are whole, and no statistics speak against them."""
    if _whole(plan, images, data) is None:
        return False
    stored = output.read(stats_key(part))
    try:
        stats = decode_stats(plan, part, stored)
    except ValueError:  # their worker was stopped before it wrote statistics, or these were damaged or made void
        return stored != _void(data)
    return stats.sha256 == sha256(data)


def _void(data: bytes) -> bytes:
    """Statistics in place of old ones, which say that these records are to be replaced. They are not removed, because
    a role that may write may lack the permission to delete."""
    return f'{{"replaced": "{sha256(data)}"}}\n'.encode()


def _whole(plan: Plan, images: list[PlannedImage], data: bytes) -> list[Record] | None:
    """The records of a part if they are exactly those of its planned images; None otherwise.

    Raises OtherSchemaError.
    """
    try:
        return planned_records(plan, images, data)
    except OtherSchemaError:
        raise
    except ValueError:
        return None


def missing_parts(
    output: Store, plan: Plan, parts: Sequence[PlanPart], progress: TerminalProgress
) -> Iterator[tuple[PlanPart, list[PlannedImage]]]:
    """The parts that are still to be made, with their images. The others are reported to `progress` as skipped."""
    for found in find_parts(output, plan, parts):
        if isinstance(found, WholePart):
            progress.part(found.stats, skipped=True)
        else:
            yield found.part, found.images
