"""`boxcar work`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobs.cli.options import machine_options
from jobs.cli.text import print_lines, rate_text
from jobs.errors import UsageError

if TYPE_CHECKING:
    from jobs.formats import Plan, PlanPart
    from jobs.storage import Store

# What AWS Batch arrays, Cloud Run jobs and Kubernetes' indexed Jobs set. Both lists have the same order, so that a
# number that a scheduler states belongs to its own index. Kubernetes states none: a manifest sets BOXCAR_SHARDS.
SHARD_VARIABLES = ["AWS_BATCH_JOB_ARRAY_INDEX", "CLOUD_RUN_TASK_INDEX", "JOB_COMPLETION_INDEX"]
SHARDS_VARIABLES = ["AWS_BATCH_JOB_ARRAY_SIZE", "CLOUD_RUN_TASK_COUNT", "BOXCAR_SHARDS"]


@click.command()
@click.argument("output")
@click.option("--shard", type=click.IntRange(min=0), envvar=SHARD_VARIABLES, help="This worker, from 0.")
@click.option("--shards", type=click.IntRange(min=1), envvar=SHARDS_VARIABLES, help="Workers in all.")
@machine_options
def work(
    output: str, shard: int | None, shards: int | None, threads: int | None, processes: int | None, device: str
) -> None:
    """Make the parts of a plan that are not there yet: those of one shard, or all.

    Without --shard and --shards, the variables of a scheduler choose the shard where they are set: of AWS Batch
    (AWS_BATCH_JOB_ARRAY_INDEX and AWS_BATCH_JOB_ARRAY_SIZE), of Cloud Run (CLOUD_RUN_TASK_INDEX and
    CLOUD_RUN_TASK_COUNT), and of Kubernetes' indexed Jobs (JOB_COMPLETION_INDEX). Kubernetes does not say how many
    shards there are: set BOXCAR_SHARDS to the Job's completions, or give --shards.

    \b
    Example:
      boxcar work s3://boxes/2024/ --shard 0 --shards 8
    """
    if (shard is None) != (shards is None):
        known, lacks, variables = (
            (f"shard {shard}", "--shards", SHARDS_VARIABLES)
            if shards is None
            else (f"{shards} shards", "--shard", SHARD_VARIABLES)
        )
        raise UsageError(
            f"--shard and --shards belong together, and there is no {lacks} for {known}: give it, or set one of "
            f"{', '.join(variables)}; for all parts give neither, and unset the variables that boxcar work --help names"
        )
    if shard is None or shards is None:
        shard, shards = 0, 1
    if shard >= shards:
        raise UsageError(f"--shard {shard}: the {shards} shards are numbered from 0 to {shards - 1}")

    from jobs.plan import require_plan, shard_parts
    from jobs.storage import open_store

    destination = open_store(output)
    found = require_plan(destination)
    parts = shard_parts(found, shard, shards)
    rate = make_parts(destination, found, parts, threads, processes, device)
    print_lines({"parts": f"{len(parts):,} in place", "images/s": rate_text(rate)})


def make_parts(
    output: Store, plan: Plan, parts: list[PlanPart], threads: int | None, processes: int | None, device: str
) -> float | None:
    """Make parts on this machine and show progress; returns images a second, or None when nothing was to do."""
    from detector.common.cores import cores
    from detector.runtime.devices import may_use_gpu
    from jobs.engines import local
    from jobs.parts import missing_parts
    from jobs.progress import TerminalProgress

    threads = threads or max(cores(), processes or 1)
    if device == "cuda" or may_use_gpu(device):
        if processes not in (None, 1):
            raise UsageError(
                f"--processes {processes}: a GPU belongs to one process; leave the option out, or give --device cpu. "
                "For several GPUs, start one boxcar work --shard for each, with CUDA_VISIBLE_DEVICES"
            )
        processes = 1
    with TerminalProgress(sum(part.count for part in parts)) as progress:
        todo = missing_parts(output, plan, parts, progress)
        local.make(output, plan, todo, threads, processes or local.spread(threads), device, progress)
        return progress.rate
