"""`boxcar plan`, and what `boxcar run` shares with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from jobs.cli.options import plan_options
from jobs.cli.text import print_lines, say, warn
from jobs.errors import UsageError

if TYPE_CHECKING:
    from jobs.formats import Plan, PlanOptions
    from jobs.model import Model
    from jobs.plan import Survey
    from jobs.storage import Store


@click.command()
@click.argument("source", metavar="INPUT")
@click.argument("output")
@plan_options
def plan(source: str, output: str, chosen: dict[str, Any], dry_run: bool) -> None:
    """Freeze the listing of INPUT in OUTPUT, with a copy of the artifact.

    \b
    Example:
      boxcar plan s3://photos/2024/ s3://boxes/2024/ --model models/detector
    """
    from jobs.storage import open_store

    destination = open_store(output)
    if dry_run:
        show_plan(open_store(source), destination, chosen)
        return
    made = freeze(open_store(source), destination, chosen)
    print_lines(
        {
            "run": made.run,
            "images": f"{made.images:,} in {len(made.parts):,} parts",
            "unchanged": f"{made.copies:,} (their records may be copied)",
            "filtered out": f"{made.filtered:,} (by --include and --exclude; not planned)",
            "other files": f"{made.other_files:,} (no images by their extension; not planned)",
            "plan": f"{destination.uri}plan.json",
        }
    )


def freeze(source: Store, output: Store, chosen: dict[str, Any]) -> Plan:
    from jobs.plan import make_plan

    with _opened(source, chosen) as (model, options):
        say(f"reading the listing of {source.uri}")
        started = datetime.now(UTC).replace(microsecond=0)  # a plan's time has whole seconds
        made = make_plan(source, output, model, options, warn)
    if datetime.fromisoformat(made.planned_at) < started:
        warn(
            f"plan of {made.planned_at} found: {made.images:,} images; "
            "what changed in INPUT since then belongs to a new OUTPUT"
        )
    return made


def show_plan(source: Store, output: Store, chosen: dict[str, Any]) -> None:
    """What a plan would hold, or the one that is there does."""
    from jobs.plan import survey
    from jobs.status import read_status

    with _opened(source, chosen) as (_, options):
        say(f"reading the listing of {source.uri}")
        found = survey(source, output, options, warn)
    there = "none yet"
    if found.plan is not None:
        done = read_status(output, found.plan).parts
        there = f"run {found.plan.run} of {found.plan.planned_at}, {done:,} of its parts in place"
    print_lines(
        {
            "plan": there,
            "images": f"{found.images:,} in {found.parts:,} parts",
            "download": f"{found.bytes - found.copied_bytes:,} bytes of {found.images - found.copies:,} images",
            "unchanged": _unchanged(found),
            "filtered out": f"{found.filtered:,} (by --include and --exclude)",
            "other files": f"{found.other_files:,} (no images by their extension)",
            "output": f"{output.uri} (dry run: nothing was written)",
        }
    )


def _unchanged(found: Survey) -> str:
    if found.since is None or found.since.output is None:
        return "0"
    return f"{found.copies:,} ({found.copied_bytes:,} bytes; their records may be copied from {found.since.output})"


@contextlib.contextmanager
def _opened(source: Store, chosen: dict[str, Any]) -> Iterator[tuple[Model, PlanOptions]]:
    """The artifact, verified, and the options of its plan."""
    from jobs.formats import STATUSES
    from jobs.model_source import named_model
    from jobs.plan import plan_options

    others = dict(chosen)
    name = others.pop("model")
    if chosen["redo"] and chosen["since"] is None:
        raise UsageError("--redo chooses among the records that --since copies; give --since too")
    if unknown := sorted(set(chosen["redo"]) - set(STATUSES)):
        raise UsageError(f"--redo {unknown[0]}: not a status; give one of {', '.join(STATUSES)}")
    if name is None:
        say("no --model: the shipped artifact, for the 20 classes of PASCAL VOC")
    with named_model(name) as model:
        yield model, plan_options(source, model, **others)
