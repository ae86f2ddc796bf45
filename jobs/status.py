"""Reads how far a run is from the statistics that its workers have written."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jobs.formats import PartStats, Plan
from jobs.parts import decode_stats, stats_key
from jobs.storage import Store, read_ahead

# Throughput is measured over the last minutes of work: workers come and go, and a run may have paused for a night.
RECENT = timedelta(minutes=15)


@dataclass
class Status:
    """The progress of a run. A part with statistics counts as done; only `finish` reads the records themselves."""

    parts: int = 0
    images: int = 0
    copied: int = 0
    boxes: int = 0
    cpu_seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    spans: list[tuple[datetime, datetime, int]] = field(
        default_factory=list
    )  # start, end, images computed, of each part

    def add(self, stats: PartStats) -> None:
        """Add one part that is done."""
        self.parts += 1
        self.images += stats.images
        self.copied += stats.copied
        self.boxes += stats.boxes
        self.cpu_seconds += stats.cpu_seconds
        self.statuses.update(stats.statuses)
        self.spans.append(
            (
                datetime.fromisoformat(stats.started_at),
                datetime.fromisoformat(stats.finished_at),
                stats.images - stats.copied,
            )
        )

    def rate(self, now: datetime) -> float | None:
        """Images that all workers computed in a second, up to the last finished part; None when that is so long ago
        that no worker can be running.

        It covers the time `RECENT`, or that of the longest part if that took longer. The images of a part count evenly
        over its time; copied ones do not count.
        """
        if not self.spans:
            return None
        span = max(RECENT, max(end - start for start, end, _ in self.spans))
        until = max(end for _, end, _ in self.spans)
        if until < now - 2 * span:
            return None
        recent = [part for part in self.spans if part[1] > until - span]
        begun = max(until - span, min(start for start, _, _ in recent))
        images = sum(
            count * ((end - max(start, begun)) / (end - start) if end > start else 1.0) for start, end, count in recent
        )
        return images / max((until - begun).total_seconds(), 1e-3)


def read_status(output: Store, plan: Plan) -> Status:
    """Add up the statistics of the parts that are done."""
    status = Status()
    with contextlib.closing(read_ahead(output, [stats_key(part) for part in plan.parts])) as found:
        for part, data in zip(plan.parts, found, strict=True):
            with contextlib.suppress(ValueError):  # a part that is not done
                status.add(decode_stats(plan, part, data))
    return status
