"""A part as it lies in OUTPUT: where it is, and whether it is whole.

The worker (skip or make it?) and `finish` (publish it?) ask the same question, so that they can never disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from jobs.manifest import PartStats, Plan, PlannedImage, PlanPart, Record, decode_lines, sha256, summary
from jobs.storage import Store


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


def read_stats(output: Store, plan: Plan, part: PlanPart) -> PartStats | Flaw:
    """What the maker of a part noted when it was done."""
    data = output.read(stats_key(part))
    if data is None:
        return Flaw("missing")
    try:
        stats = PartStats.model_validate_json(data)
    except ValidationError as error:
        return Flaw(f"its statistics cannot be read: {summary(error)}")
    return stats if (stats.run, stats.part) == (plan.run, part.name) else Flaw(f"belongs to run {stats.run}")


def check_part(output: Store, plan: Plan, part: PlanPart, images: list[PlannedImage]) -> WholePart | Flaw:
    """Read a part and hold it against its digest and the plan."""
    stats = read_stats(output, plan, part)
    if isinstance(stats, Flaw):
        return stats
    data = output.read(records_key(part))
    if data is None:
        return Flaw("missing")
    if sha256(data) != stats.sha256:
        return Flaw("changed since it was written")
    try:
        records = decode_lines(Record, data)
    except ValueError as error:
        return Flaw(str(error))
    if [record.image for record in records] != [plan.input + image.key for image in images]:
        return Flaw("its images are not those of the plan")
    if any(record.run != plan.run for record in records):
        return Flaw("holds records of another run")
    return WholePart(records, stats, len(data))
