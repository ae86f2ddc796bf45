"""How far a run is, from what its workers have written; works from anywhere, at any moment."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from jobs.manifest import PartStats, Plan
from jobs.parts import read_stats
from jobs.storage import Store


@dataclass
class Status:
    """Parts with statistics count as done; only `finish` reads the records themselves."""

    parts: int = 0
    images: int = 0
    boxes: int = 0
    statuses: Counter[str] = field(default_factory=Counter)


def read_status(output: Store, plan: Plan) -> Status:
    """Add up the statistics of the parts that are done."""
    status = Status()
    for part in plan.parts:
        stats = read_stats(output, plan, part)
        if isinstance(stats, PartStats):
            status.parts += 1
            status.images += stats.images
            status.boxes += stats.boxes
            status.statuses.update(stats.statuses)
    return status
