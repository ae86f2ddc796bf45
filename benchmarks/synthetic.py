"""Write parts of a run with made-up records: everything that a reader of a run needs, without any image."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from jobs.formats import PartStats, Plan, PlannedImage, Record, encode_lines, sha256
from jobs.parts import records_key, stats_key
from jobs.plan import planned_parts
from jobs.storage import Store


def write_parts(output: Store, plan: Plan, record: Callable[[PlannedImage], Record]) -> Iterator[list[Record]]:
    """Write every part of a plan with its statistics, and yield the records of each part."""
    now = plan.planned_at
    for part, planned in planned_parts(output, plan):
        records = [record(image) for image in planned]
        data = encode_lines(records)
        output.write(records_key(part), data)
        stats = PartStats(
            run=plan.run, part=part.name, sha256=sha256(data), images=part.count, copied=0, statuses={"ok": part.count},
            boxes=sum(len(made.boxes) for made in records), bytes_read=0, started_at=now, finished_at=now,
            cpu_seconds=0, seconds=0, step_seconds={}, onnxruntime="none",
        )  # fmt: skip
        output.write(stats_key(part), stats.pretty())
        yield records
