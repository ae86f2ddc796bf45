"""What of a run is submitted to AWS Batch: an array that makes the missing parts, and a job that finishes after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.aws.batch import Batch, Job, Request
from jobs.formats import Plan, PlanPart, sha256
from jobs.parts import Flaw, find_parts, stats_key
from jobs.rules.policy import Policy
from jobs.storage import Store, open_store

# AWS Batch's limit for an array, whose least size is 2.
MOST_CHILDREN = 10_000
# A quarter of an hour at the 44.3 images/s of docs/benchmarks.md on two vCPUs: the minute or so in which a container
# starts is then a fifteenth of what is paid for, and a child that is lost costs no more than its last part.
IMAGES_A_CHILD = 40_000


@dataclass(frozen=True)
class Submission:
    """The jobs that bring a run to its verdict."""

    missing: int | None  # parts that were to be made; None where a job that runs makes them
    work: str | None  # id of the job that makes parts; None when none is missing
    children: int  # of that job, when it is new
    finish: str  # id of the job that publishes


def job_names(plan: Plan, output: Store) -> tuple[str, str]:
    """The names of the two jobs. Runs with the same plan in two OUTPUTs have one name, so that OUTPUT is in it too."""
    stem = f"boxcar-{plan.run}-{sha256(output.uri.encode())[:8]}"
    return f"{stem}-work", f"{stem}-finish"


def children_for(plan: Plan, missing: Sequence[PlanPart], wanted: int | None) -> int:
    """How many jobs share the missing parts; None chooses by the number of images that are to be computed there.

    Records that are copied cost next to nothing. Which parts they lie in is not known here: they are taken to lie in
    all alike.
    """
    if wanted is None:
        images = sum(part.count for part in missing)
        wanted = -(-images * (plan.images - plan.copies) // (max(plan.images, 1) * IMAGES_A_CHILD))
    wanted = max(1, min(wanted, len(missing), MOST_CHILDREN))
    # A child takes every n-th part of the plan: where one of n failed before, n or its divisors give all to one again.
    place = {part.name: number for number, part in enumerate(plan.parts)}
    numbers = [place[part.name] for part in missing]
    fair = 2 * -(-len(missing) // wanted)
    for children in range(wanted, min(2 * wanted, len(plan.parts), MOST_CHILDREN) + 1):
        if max(Counter(number % children for number in numbers).values(), default=0) <= fair:
            return children
    return wanted


def unfinished(output: Store, plan: Plan) -> list[PlanPart]:
    """The parts that are not whole, in order.

    A part without statistics is not whole, and a listing tells which those are: only the others are read.
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
    return command if latest is None else [*command, "--latest", latest]


def submit(
    batch: Batch, output: Store, plan: Plan, policy: Policy, latest: str | None, wanted: int | None
) -> Submission:
    """Submit what the run in `output` still needs; jobs of this run that have not ended are used, not doubled.

    wanted: children, at most MOST_CHILDREN; None chooses.
    """
    work_name, finish_name = job_names(plan, output)
    # First the jobs, then the parts: a job that ends in between leaves no part that is taken for missing.
    work, finish = batch.active(work_name), batch.active(finish_name)
    missing = unfinished(output, plan) if work is None else []
    children = children_for(plan, missing, wanted) if missing else 0
    work_id, finish_id = _id(work), _id(finish)
    if missing:
        work_id = batch.submit(Request(work_name, ["work", output.uri], children))
        finish_id = None  # one that waits for an array that failed will fail with it
    if finish_id is None:
        finish_id = batch.submit(Request(finish_name, finish_command(output, policy, latest), after=work_id))
    return Submission(None if work else len(missing), work_id, children, finish_id)


def _id(job: Job | None) -> str | None:
    return None if job is None else job.id
