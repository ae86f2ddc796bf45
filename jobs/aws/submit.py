"""Submits a run to AWS Batch: an array of jobs that make the missing parts, and one job that publishes after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.aws.batch import Batch, Job, Request
from jobs.formats import Plan, PlanPart, sha256
from jobs.parts import Flaw, find_parts, stats_key
from jobs.rules.policy import DEFAULT_PREFIX_DEPTH, Policy
from jobs.storage import Store, open_store

# AWS Batch limits the size of an array to 2 to 10,000.
MOST_CHILDREN = 10_000
# 15 minutes at the 44.3 images/s of docs/benchmarks.md on two vCPUs. The minute in which a container starts is then a
# fifteenth of the cost, and a child that is lost loses only its last part.
IMAGES_A_CHILD = 40_000


@dataclass(frozen=True)
class Submission:
    """The jobs that bring a run to its verdict."""

    missing: int | None  # parts to be made; None when a job that runs already makes them
    work: str | None  # id of the job that makes parts; None when none is missing
    children: int  # children of that job if it is new
    finish: str  # id of the job that publishes


def job_names(plan: Plan, output: Store) -> tuple[str, str]:
    """The names of the two jobs. They depend on OUTPUT too, because the same plan may lie in two OUTPUTs."""
    stem = f"boxcar-{plan.run}-{sha256(output.uri.encode())[:8]}"
    return f"{stem}-work", f"{stem}-finish"


def children_for(plan: Plan, missing: Sequence[PlanPart], wanted: int | None) -> int:
    """The number of jobs that share the missing parts; wanted: None chooses by the number of images to be computed.

    Copied records cost almost nothing. Their parts are not known here, so they count as spread evenly over all parts.
    """
    if wanted is None:
        images = sum(part.count for part in missing)
        wanted = -(-images * (plan.images - plan.copies) // (max(plan.images, 1) * IMAGES_A_CHILD))
    wanted = max(1, min(wanted, len(missing), MOST_CHILDREN))
    # A child takes every n-th part of the plan. When one of n children failed, its parts must not all go to one child
    # again.
    place = {part.name: number for number, part in enumerate(plan.parts)}
    numbers = [place[part.name] for part in missing]
    fair = 2 * -(-len(missing) // wanted)
    for children in range(wanted, min(2 * wanted, len(plan.parts), MOST_CHILDREN) + 1):
        if max(Counter(number % children for number in numbers).values(), default=0) <= fair:
            return children
    return wanted


def unfinished(output: Store, plan: Plan) -> list[PlanPart]:
    """The parts that are not whole, in order.

    A part without statistics is not whole. A listing shows which parts have statistics, and only those are read.
    """
    listed = {f"stats/{entry.key}" for entry in open_store(f"{output.uri}stats/").list()}
    made = [part for part in plan.parts if stats_key(part) in listed]
    whole = {found.part.name for found in find_parts(output, plan, made) if not isinstance(found, Flaw)}
    return [part for part in plan.parts if part.name not in whole]


def finish_command(output: Store, policy: Policy, latest: str | None) -> list[str]:
    """`finish OUTPUT` with the options that decide the verdict and where it is shown."""
    command = ["finish", output.uri, "--max-failed", str(policy.max_failed)]
    for rule in policy.strict:
        command += ["--strict", rule]
    if policy.prefix_depth != DEFAULT_PREFIX_DEPTH:
        command += ["--prefix-depth", str(policy.prefix_depth)]
    return command if latest is None else [*command, "--latest", latest]


def submit(
    batch: Batch, output: Store, plan: Plan, policy: Policy, latest: str | None, wanted: int | None
) -> Submission:
    """Submit the jobs that the run in `output` still needs. Jobs of this run that have not ended are used again.

    wanted: children, at most MOST_CHILDREN; None chooses.
    """
    work_name, finish_name = job_names(plan, output)
    # Look for jobs first and for parts second: otherwise the parts of a job that ends in between would count as
    # missing.
    work, finish = batch.active(work_name), batch.active(finish_name)
    missing = unfinished(output, plan) if work is None else []
    children = children_for(plan, missing, wanted) if missing else 0
    work_id, finish_id = _id(work), _id(finish)
    if missing:
        work_id = batch.submit(Request(work_name, ["work", output.uri], children))
        finish_id = None  # an earlier job would fail, because it waits for an array that failed
    if finish_id is None:
        finish_id = batch.submit(Request(finish_name, finish_command(output, policy, latest), after=work_id))
    return Submission(None if work else len(missing), work_id, children, finish_id)


def _id(job: Job | None) -> str | None:
    return None if job is None else job.id
