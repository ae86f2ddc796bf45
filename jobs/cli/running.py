"""`boxcar run`, `work` and `finish`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobs.cli.options import latest_option, machine_options, plan_options, policy_options
from jobs.cli.planning import freeze, show_plan
from jobs.cli.text import failed, print_lines, say, shown_rate
from jobs.errors import RejectedError, UsageError

if TYPE_CHECKING:
    from jobs.formats import Manifest, Plan, PlanPart
    from jobs.latest import LatestPointer
    from jobs.rules.policy import Policy
    from jobs.storage import Store


@click.command()
@click.argument("source", metavar="INPUT")
@click.argument("output")
@plan_options
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where parts are made: on this machine, or on a Ray cluster.",
)
@click.option("--address", help="Of the Ray cluster.  [default: one that is started on this machine]")
@machine_options
@policy_options
@latest_option
def run(
    source: str,
    output: str,
    chosen: dict[str, Any],
    dry_run: bool,
    engine: str,
    address: str | None,
    threads: int | None,
    processes: int | None,
    policy: Policy,
    latest: str | None,
) -> None:
    """Plan, work and finish in one process; run again to resume.

    \b
    Example:
      boxcar run s3://photos/2024/ s3://boxes/2024/ --latest s3://boxes/latest.json
    """
    from jobs.publish import find_published, repair_pages
    from jobs.publish import finish as finish_run
    from jobs.rules.review import check_installed
    from jobs.storage import open_store

    if engine == "ray" and (threads or processes):
        raise UsageError("--threads and --processes are of this machine; on a Ray cluster every core makes parts")
    if engine != "ray" and address:
        raise UsageError("--address is that of a Ray cluster; give --engine ray too")
    check_installed()  # before hours of work, not after
    origin, destination = open_store(source), open_store(output)
    pointer = _pointer(latest, origin.uri, destination)
    if dry_run:
        show_plan(origin, destination, chosen)
        return
    plan = freeze(origin, destination, chosen)
    manifest = find_published(destination, plan, policy)
    rate = None
    if manifest is not None:
        repair_pages(destination, plan, manifest)
    else:
        if engine == "ray":
            rate = _work_on_ray(destination, plan, address)
        else:
            rate = _work(destination, plan, plan.parts, threads, processes)
        say("validating the records")
        manifest = finish_run(destination, plan, policy)
    conclude(destination, manifest, rate, pointer)


@click.command()
@click.argument("output")
@click.option("--shard", type=click.IntRange(min=0), envvar="AWS_BATCH_JOB_ARRAY_INDEX", help="This worker, from 0.")
@click.option("--shards", type=click.IntRange(min=1), envvar="AWS_BATCH_JOB_ARRAY_SIZE", help="Workers in all.")
@machine_options
def work(output: str, shard: int | None, shards: int | None, threads: int | None, processes: int | None) -> None:
    """Make the parts of a plan that are not there yet: one shard's, or all.

    Without options, AWS_BATCH_JOB_ARRAY_INDEX and AWS_BATCH_JOB_ARRAY_SIZE choose the shard where they are set.

    \b
    Example:
      boxcar work s3://boxes/2024/ --shard 0 --shards 8
    """
    if (shard is None) != (shards is None):
        raise UsageError("--shard and --shards belong together; give both, or neither for all parts")
    if shard is None or shards is None:
        shard, shards = 0, 1
    if shard >= shards:
        raise UsageError(f"--shard {shard}: the {shards} shards are numbered from 0 to {shards - 1}")

    from jobs.plan import require_plan, shard_parts
    from jobs.storage import open_store

    destination = open_store(output)
    found = require_plan(destination)
    parts = shard_parts(found, shard, shards)
    rate = _work(destination, found, parts, threads, processes)
    print_lines({"parts": f"{len(parts):,} in place", "images/s": shown_rate(rate)})


@click.command()
@click.argument("output")
@policy_options
@latest_option
def finish(output: str, policy: Policy, latest: str | None) -> None:
    """Verify every part, validate the records, and publish manifest.json.

    \b
    Example:
      boxcar finish s3://boxes/2024/ --latest s3://boxes/latest.json
    """
    from jobs.plan import require_plan
    from jobs.publish import finish as finish_run
    from jobs.storage import open_store

    destination = open_store(output)
    found = require_plan(destination)
    pointer = _pointer(latest, found.input, destination)
    say("validating the records")
    conclude(destination, finish_run(destination, found, policy), None, pointer)


def _work(output: Store, plan: Plan, parts: list[PlanPart], threads: int | None, processes: int | None) -> float | None:
    """Make parts on this machine under a progress display; images a second."""
    from detector.common.cores import cores
    from jobs.engines import local
    from jobs.parts import missing_parts
    from jobs.progress import TerminalProgress

    threads = threads or max(cores(), processes or 1)
    with TerminalProgress(sum(part.count for part in parts)) as progress:
        todo = missing_parts(output, plan, parts, progress)
        local.make(output, plan, todo, threads, processes or local.spread(threads), progress)
        return progress.rate


def _work_on_ray(output: Store, plan: Plan, address: str | None) -> float | None:
    """Make all parts on a Ray cluster under a progress display; images a second."""
    from jobs.engines import ray
    from jobs.parts import missing_parts
    from jobs.progress import TerminalProgress

    with TerminalProgress(plan.images) as progress:
        ray.make(output, plan, missing_parts(output, plan, plan.parts, progress), address, progress)
        return progress.rate


def _pointer(uri: str | None, source_uri: str, output: Store) -> LatestPointer | None:
    from jobs.latest import LatestPointer

    return None if uri is None else LatestPointer(uri, source_uri, output)


def conclude(output: Store, manifest: Manifest, rate: float | None, pointer: LatestPointer | None) -> None:
    """Say what was published; move the pointer for a valid run; end with exit 3 for a rejected one."""
    from jobs.publish import VALIDATION
    from jobs.published_run import MANIFEST
    from jobs.report import REPORT

    print_lines(
        {
            "images": f"{manifest.images:,}",
            "failed": failed(manifest.statuses),
            "boxes": f"{sum(manifest.boxes.values()):,}",
            "images/s": shown_rate(rate),
            "verdict": manifest.status,
            "report": output.uri + REPORT,
            "manifest": output.uri + MANIFEST,
        }
    )
    if not manifest.images:
        click.echo(f"warning: no images below {manifest.input}; check the INPUT", err=True)
    for rule in manifest.warnings:
        click.echo(f"warning: {rule}: {output.uri}{VALIDATION} says why", err=True)
    if manifest.status == "rejected":
        raise RejectedError(
            f"{output.uri}: published as rejected; {output.uri}{VALIDATION} says which rules are broken"
        )
    if pointer is not None and (reason := pointer.move()) is not None:
        click.echo(f"{pointer.uri} was kept: {reason}")
