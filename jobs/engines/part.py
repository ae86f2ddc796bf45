"""Makes one part, as a task for engines whose workers are other processes."""

from __future__ import annotations

from functools import lru_cache

from jobs.errors import UsageError
from jobs.formats import PartStats, PlanPart
from jobs.plan import decode_planned, open_input, planned_key, require_plan
from jobs.storage import Store, open_store
from jobs.worker import Worker


# A process works for one run, and keeps its network and its threads from part to part.
@lru_cache(maxsize=1)
def _worker(output_uri: str, plan_digest: str, threads: int, share: int) -> tuple[Store, Worker]:
    output = open_store(output_uri)
    plan = require_plan(output)
    if plan.digest != plan_digest:
        raise UsageError(f"{output_uri}: holds plan {plan.digest[:12]}, not {plan_digest[:12]}; choose a new OUTPUT")
    # Several processes would share a GPU's memory: it belongs to one.
    return output, Worker(open_input(plan), output, plan, threads=threads, share=share, device="cpu")


def make_part(output_uri: str, plan_digest: str, part: PlanPart, threads: int, share: int) -> PartStats:
    """Make one part of the plan in OUTPUT; returns its statistics. See Worker for `threads` and `share`."""
    output, worker = _worker(output_uri, plan_digest, threads, share)
    images = decode_planned(output, part, output.read(planned_key(part)))
    (stats,) = worker.make([(part, images)])
    return stats
