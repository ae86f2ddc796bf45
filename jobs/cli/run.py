"""`boxcar run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobs.cli.options import latest_option, machine_options, plan_options, policy_options
from jobs.cli.shared import conclude, freeze_plan, open_ends, open_pointer, show_plan
from jobs.cli.text import say
from jobs.cli.work import make_parts
from jobs.errors import UsageError

if TYPE_CHECKING:
    from jobs.formats import Plan
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
@click.option("--address", help="Address of the Ray cluster.  [default: one that is started on this machine]")
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
    device: str,
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

    if engine == "ray" and (threads or processes or device == "cuda"):
        raise UsageError(
            "--threads, --processes and --device are for this machine; on a Ray cluster every core makes parts"
        )
    if engine != "ray" and address:
        raise UsageError("--address names a Ray cluster; give --engine ray too")
    check_installed()  # before hours of work, not after
    origin, destination = open_ends(source, output, chosen)
    pointer = open_pointer(latest, origin.uri, destination, chosen["limit"])
    if dry_run:
        show_plan(origin, destination, chosen)
        return
    plan = freeze_plan(origin, destination, chosen)
    manifest = find_published(destination, plan, policy)
    rate = None
    if manifest is not None:
        repair_pages(destination, plan, manifest)
    else:
        if engine == "ray":
            rate = _work_on_ray(destination, plan, address)
        else:
            rate = make_parts(destination, plan, plan.parts, threads, processes, device)
        say("validating the records")
        manifest = finish_run(destination, plan, policy)
    conclude(destination, manifest, rate, pointer)


def _work_on_ray(output: Store, plan: Plan, address: str | None) -> float | None:
    """Make all parts on a Ray cluster and show progress; returns images a second, or None when nothing was to do."""
    from jobs.engines import ray
    from jobs.parts import missing_parts
    from jobs.progress import TerminalProgress

    with TerminalProgress(plan.images) as progress:
        ray.make(output, plan, missing_parts(output, plan, plan.parts, progress), address, progress)
        return progress.rate
