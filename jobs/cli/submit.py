"""`boxcar submit`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from jobs.cli.options import latest_option, plan_options, policy_options
from jobs.cli.shared import conclude, freeze_plan, open_ends, open_pointer, show_plan
from jobs.cli.text import print_lines, say, warn
from jobs.errors import IncompleteError, UsageError

if TYPE_CHECKING:
    from jobs.aws.submit import Submission
    from jobs.formats import Manifest, Plan
    from jobs.rules.policy import Policy
    from jobs.storage import Store

PLACEHOLDER = "{scheduled_time}"


def _shards(_context: click.Context, _parameter: click.Parameter, value: str) -> int | None:
    from jobs.aws.submit import MOST_CHILDREN

    if value == "auto":
        return None
    if not value.isdecimal() or not 1 <= int(value) <= MOST_CHILDREN:
        raise click.BadParameter(f"takes auto, or a number from 1 to {MOST_CHILDREN:,}")
    return int(value)


def _time(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """The time as it is written into a name: UTC, without colons, which tools for Windows and Hadoop refuse."""
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is not None:
            found = found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{value} is not a time such as 2024-06-01T02:00:00Z") from error
    if found.tzinfo is None:
        raise click.BadParameter(f"{value} has no time zone; give a time such as 2024-06-01T02:00:00Z")
    return found.strftime("%Y-%m-%dT%H-%M-%SZ")


@click.command()
@click.argument("source", metavar="INPUT")
@click.argument("output")
@plan_options
@click.option("--queue", required=True, help="AWS Batch queue: its name or ARN.")
@click.option(
    "--definition",
    required=True,
    help="Job definition of AWS Batch: an ARN, or a name, which means its newest revision.",
)
@click.option(
    "--shards",
    default="auto",
    show_default=True,
    metavar="N|auto",
    callback=_shards,
    help="Number of jobs that share the missing parts, at most 10,000; auto gives each about 15 minutes of work.",
)
@click.option(
    "--scheduled-time",
    metavar="TIME",
    callback=_time,
    help="Replaces {scheduled_time} in OUTPUT, so that each run of a schedule has its own; ISO 8601, such as "
    "2024-06-01T02:00:00Z.",
)
@click.option("--wait", is_flag=True, help="Wait for the verdict, and show what the jobs do.")
@policy_options
@latest_option
def submit(
    source: str,
    output: str,
    chosen: dict[str, Any],
    dry_run: bool,
    queue: str,
    definition: str,
    shards: int | None,
    scheduled_time: str | None,
    wait: bool,
    policy: Policy,
    latest: str | None,
) -> None:
    """Plan a run, and submit its work to AWS Batch: an array of jobs that make parts, and one that publishes after it.

    Submit again to resume: the plan stays, and only missing parts are made. Jobs of this run that have not ended are
    used, with the options that they have, and no others are submitted. Both INPUT and OUTPUT must be in S3.

    \b
    Example:
      boxcar submit s3://photos/2024/ s3://boxes/2024/ --queue boxcar --definition boxcar-worker --wait
    """
    from jobs.aws.batch import Batch
    from jobs.aws.submit import submit as submit_run

    output = _named(output, scheduled_time)
    origin, destination = open_ends(source, output, chosen)
    for name, store in (("INPUT", origin), ("OUTPUT", destination)):
        if not store.uri.startswith("s3://"):
            raise UsageError(
                f"{name} {store.uri}: jobs on AWS Batch cannot read a folder of this machine; give s3://..."
            )
    pointer = open_pointer(latest, origin.uri, destination, chosen["limit"])
    if dry_run:
        show_plan(origin, destination, chosen)
        return
    batch = Batch(queue, definition)  # before the listing, so that wrong settings are found at once
    plan = freeze_plan(origin, destination, chosen)
    manifest = _without_jobs(destination, plan, policy)
    if manifest is not None:
        conclude(destination, manifest, None, pointer)
        return
    say("looking for missing parts")
    submitted = submit_run(batch, destination, plan, policy, latest, shards)
    _show(destination, plan, submitted)
    if wait:
        from jobs.aws.follow import follow

        follow(batch, submitted.work, submitted.finish, warn)
        conclude(destination, _published(destination, plan), None, None)


def _named(output: str, scheduled_time: str | None) -> str:
    """OUTPUT with its placeholder replaced by the scheduled time."""
    if (PLACEHOLDER in output) != (scheduled_time is not None):
        raise UsageError(f"--scheduled-time and {PLACEHOLDER} in OUTPUT belong together; give both, or neither")
    return output if scheduled_time is None else output.replace(PLACEHOLDER, scheduled_time)


def _without_jobs(output: Store, plan: Plan, policy: Policy) -> Manifest | None:
    """The manifest of a run that needs no job: it is published as valid, or has no parts and is published now."""
    from jobs.publish import find_published, finish, repair_pages

    if not plan.parts:
        return finish(output, plan, policy)
    manifest = find_published(output, plan, policy)
    if manifest is not None:
        repair_pages(output, plan, manifest)
    return manifest


def _published(output: Store, plan: Plan) -> Manifest:
    """The manifest that the finishing job wrote; raises IncompleteError where there is none."""
    from jobs.published_run import read_manifest

    manifest = read_manifest(output)
    if manifest is None or manifest.lineage.plan_digest != plan.digest:
        raise IncompleteError(f"{output.uri}: the finishing job has ended without a manifest; submit again")
    return manifest


def _show(output: Store, plan: Plan, submitted: Submission) -> None:
    parts = "being made by jobs that were submitted before"
    if submitted.missing is not None:
        parts = f"{submitted.missing:,} of {len(plan.parts):,} to be made"
    work = "none needed" if submitted.work is None else submitted.work
    if submitted.children > 1:
        work = f"{work}, {submitted.children:,} children"
    print_lines(
        {
            "run": plan.run,
            "output": output.uri,
            "images": f"{plan.images:,}",
            "parts": parts,
            "work": work,
            "finish": submitted.finish,
        }
    )
