"""The command `boxcar`: arguments in, one summary or one `error:` line out.

Heavy imports stand inside the commands, so that `boxcar --help` answers at once.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jobs.errors import JobError, ModelError, RejectedError, UsageError
from jobs.stopping import EXIT_SIGINT, EXIT_SIGTERM, Stopped, stopped_by_sigterm

if TYPE_CHECKING:
    from jobs.latest import LatestPointer
    from jobs.manifest import Manifest, Plan, PlanPart
    from jobs.model import Model
    from jobs.plan import Options, Survey
    from jobs.storage import Store

# About a minute of two cores: little is lost in a kill, and ten million images make 20,000 parts.
DEFAULT_PART_SIZE = 500
# Any large bucket holds some damaged pictures; above one in ten something else is wrong: a policy, a prefix, a copy.
DEFAULT_MAX_FAILED = 0.1

Command = TypeVar("Command", bound=Callable[..., Any])


class Boxcar(click.Group):
    """Turns the errors that people can act on into one line and their exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; see the class."""
        try:
            with stopped_by_sigterm():
                return super().invoke(ctx)
        except JobError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.exit_code)
        except Stopped:
            _leave("stopped by SIGTERM", EXIT_SIGTERM)
        except KeyboardInterrupt:
            _leave("interrupted", EXIT_SIGINT)


def _leave(reason: str, code: int) -> None:
    """End at once: threads may hang in downloads for minutes, and nothing that they do is needed any more."""
    click.echo(f"{reason}; run the same command again to resume", err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _model_option(command: Command) -> Command:
    return click.option(
        "--model",
        type=click.Path(path_type=Path),
        metavar="ARTIFACT",
        help="Folder with model.onnx and model.json.  [default: the shipped one, for the 20 classes of PASCAL VOC]",
    )(command)


@dataclass(frozen=True)
class Wanted:
    """What a plan is asked for with; the names are those of the options."""

    model: Path | None
    min_score: float | None
    part_size: int
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    extensions: tuple[str, ...]
    inventory: str | None
    since: str | None
    redo: tuple[str, ...]


def _extensions(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = [] if value is None else [name.strip().removeprefix(".").lower() for name in value.split(",")]
    if any(not name or "." in name or "/" in name for name in names):
        raise click.BadParameter("takes what follows a name's last dot, separated by commas, as in jpg,png")
    return tuple(names)


def _plan_options(command: Command) -> Command:
    """The options that a plan depends on; the command gets them together, as `wanted`."""

    @functools.wraps(command)
    def collected(*arguments: Any, **options: Any) -> Any:
        wanted = Wanted(**{field.name: options.pop(field.name) for field in fields(Wanted)})
        return command(*arguments, wanted=wanted, **options)

    return _plan_option_list(collected)


def _plan_option_list(command: Callable[..., Any]) -> Any:
    command = click.option(
        "--dry-run", is_flag=True, help="Show what would be read and written, from the listing alone; write nothing."
    )(command)
    command = click.option(
        "--redo",
        multiple=True,
        metavar="STATUS",
        help="With --since: compute images again whose record has this status, such as unreadable. Repeatable.",
    )(command)
    command = click.option(
        "--since",
        metavar="PREVIOUS",
        help="Copy the records of images that have not changed since this run: its OUTPUT, or a latest.json.",
    )(command)
    command = click.option(
        "--inventory",
        metavar="URI",
        help="Read INPUT's keys from this S3 Inventory manifest.json (CSV or Parquet), in place of listing it.",
    )(command)
    command = click.option(
        "--extensions",
        metavar="LIST",
        callback=_extensions,
        help="Extensions of images, separated by commas, in any case.  [default: bmp,gif,jpeg,jpg,png,tif,tiff,webp]",
    )(command)
    command = click.option(
        "--exclude",
        multiple=True,
        metavar="GLOB",
        help="Leave out images whose key below INPUT matches; * crosses /. Repeatable.",
    )(command)
    command = click.option(
        "--include",
        multiple=True,
        metavar="GLOB",
        help="Plan only images whose key below INPUT matches; * crosses /. Repeatable.",
    )(command)
    command = click.option(
        "--part-size",
        type=click.IntRange(min=1),
        default=DEFAULT_PART_SIZE,
        show_default=True,
        help="Images a part: the unit of work and of retry.",
    )(command)
    command = click.option(
        "--min-score",
        type=click.FloatRange(0, 1),
        help="Keep boxes with at least this score.  [default: the artifact's operating score]",
    )(command)
    return _model_option(command)


def _machine_options(command: Command) -> Command:
    command = click.option(
        "--processes",
        type=click.IntRange(min=1),
        help="Processes that share the threads.  [default: one for every 8 threads]",
    )(command)
    return click.option(
        "--threads", type=click.IntRange(min=1), help="Images computed at once.  [default: the cores at hand]"
    )(command)


def _max_failed_option(command: Command) -> Command:
    return click.option(
        "--max-failed",
        type=click.FloatRange(0, 1),
        default=DEFAULT_MAX_FAILED,
        show_default=True,
        help="Share of images that may fail before the run is rejected.",
    )(command)


def _json_uri(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not value.endswith(".json"):
        raise click.BadParameter("names the file to write: it must end with .json, as in s3://boxes/latest.json")
    return value


def _latest_option(command: Command) -> Command:
    return click.option(
        "--latest",
        metavar="URI",
        callback=_json_uri,
        help="When the run is valid, let this file point at its manifest; it stays as it is for a rejected run, one "
        "without images, or one planned before the run that it names.",
    )(command)


@click.group(cls=Boxcar, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run a detector over the images of a bucket or a folder, and publish box manifests.

    INPUT and OUTPUT are s3://bucket/prefix or a folder; OUTPUT belongs to one run. The standard AWS settings apply
    (AWS_ENDPOINT_URL, profiles, roles). In a folder, names that begin with a dot and links to folders are left out.

    Exit codes: 0 published and valid, 1 a bug, 2 wrong usage or another plan in OUTPUT, 3 rejected, 4 parts are
    missing (run again), 5 storage or permission, 6 the artifact cannot be used, 143 stopped by SIGTERM (run again).
    """


@main.command()
@click.argument("source", metavar="INPUT")
@click.argument("output")
@_plan_options
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where parts are made: on this machine, or on a Ray cluster.",
)
@click.option("--address", help="Of the Ray cluster.  [default: one that is started on this machine]")
@_machine_options
@_max_failed_option
@_latest_option
def run(
    source: str,
    output: str,
    wanted: Wanted,
    dry_run: bool,
    engine: str,
    address: str | None,
    threads: int | None,
    processes: int | None,
    max_failed: float,
    latest: str | None,
) -> None:
    """Plan, work and finish in one process; run again to resume.

    \b
    Example:
      boxcar run s3://photos/2024/ s3://boxes/2024/ --latest s3://boxes/latest.json
    """
    from jobs.expectations import check_installed
    from jobs.finish import finish as finish_run
    from jobs.finish import published

    if engine == "ray" and (threads or processes):
        raise UsageError("--threads and --processes are of this machine; on a Ray cluster every core makes parts")
    if engine != "ray" and address:
        raise UsageError("--address is that of a Ray cluster; give --engine ray too")
    check_installed()  # before hours of work, not after
    origin, destination = _store(source), _store(output)
    pointer = _pointer(latest, origin.uri, destination)
    if dry_run:
        _show_plan(origin, destination, wanted)
        return
    plan = _make_plan(origin, destination, wanted)
    manifest = published(destination, plan, max_failed)
    rate = None
    if manifest is None:
        if engine == "ray":
            rate = _work_on_ray(destination, plan, address)
        else:
            rate = _work(destination, plan, plan.parts, threads, processes)
        _say("validating the records")
        manifest = finish_run(destination, plan, max_failed)
    _conclude(destination, manifest, rate, pointer)


@main.command()
@click.argument("source", metavar="INPUT")
@click.argument("output")
@_plan_options
def plan(source: str, output: str, wanted: Wanted, dry_run: bool) -> None:
    """Freeze the listing of INPUT in OUTPUT, with a copy of the artifact.

    \b
    Example:
      boxcar plan s3://photos/2024/ s3://boxes/2024/ --model models/detector
    """
    destination = _store(output)
    if dry_run:
        _show_plan(_store(source), destination, wanted)
        return
    made = _make_plan(_store(source), destination, wanted)
    _print(
        {
            "run": made.run,
            "images": f"{made.images:,} in {len(made.parts):,} parts",
            "unchanged": f"{made.copies:,} (their records may be copied)",
            "filtered out": f"{made.filtered:,} (by --include and --exclude; not planned)",
            "other files": f"{made.other_files:,} (no images by their extension; not planned)",
            "plan": f"{destination.uri}plan.json",
        }
    )


@main.command()
@click.argument("output")
@click.option("--shard", type=click.IntRange(min=0), envvar="AWS_BATCH_JOB_ARRAY_INDEX", help="This worker, from 0.")
@click.option("--shards", type=click.IntRange(min=1), envvar="AWS_BATCH_JOB_ARRAY_SIZE", help="Workers in all.")
@_machine_options
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

    destination = _store(output)
    found = require_plan(destination)
    parts = shard_parts(found, shard, shards)
    rate = _work(destination, found, parts, threads, processes)
    _print({"parts": f"{len(parts):,} in place", "images/s": _rate(rate)})


@main.command()
@click.argument("output")
@_max_failed_option
@_latest_option
def finish(output: str, max_failed: float, latest: str | None) -> None:
    """Verify every part, validate the records, and publish manifest.json.

    \b
    Example:
      boxcar finish s3://boxes/2024/ --latest s3://boxes/latest.json
    """
    from jobs.finish import finish as finish_run
    from jobs.plan import require_plan

    destination = _store(output)
    found = require_plan(destination)
    pointer = _pointer(latest, found.input, destination)
    _say("validating the records")
    _conclude(destination, finish_run(destination, found, max_failed), None, pointer)


@main.command()
@click.argument("output")
def validate(output: str) -> None:
    """Judge the records of a complete run by the rules, without publishing it.

    Writes quality/validation.json and prints what each rule says. The share of images that may fail is that of the
    manifest, or the default where none is published yet.

    \b
    Example:
      boxcar validate s3://boxes/2024/
    """
    from jobs.finish import VALIDATION, examine
    from jobs.manifest_file import read_manifest
    from jobs.plan import require_plan

    destination = _store(output)
    found = require_plan(destination)
    manifest = read_manifest(destination)
    max_failed = DEFAULT_MAX_FAILED if manifest is None else manifest.max_failed
    _say("validating the records")
    validation = examine(destination, found, max_failed).validation
    for rule in validation.rules:
        click.echo(f"{'pass' if rule.passed else 'FAIL'}  {rule.rule:<16} {rule.observed:<16} {rule.sentence}")
        for image in [] if rule.passed else rule.examples:
            click.echo(f"        {image!r}")
    click.echo(f"verdict: {validation.status}")
    if validation.status == "rejected":
        raise RejectedError(f"{destination.uri}: rejected; {destination.uri}{VALIDATION} names images for each rule")


@main.command()
@click.argument("output")
def status(output: str) -> None:
    """Show how far a run is.

    \b
    Example:
      boxcar status s3://boxes/2024/
    """
    from jobs.manifest_file import read_manifest
    from jobs.plan import require_plan
    from jobs.status import read_status

    destination = _store(output)
    found = require_plan(destination)
    state = read_status(destination, found)
    manifest = read_manifest(destination)
    _print(
        {
            "run": found.run,
            "input": found.input,
            "parts": f"{state.parts:,} of {len(found.parts):,}",
            "images": f"{state.images:,} of {found.images:,}" + (f", {state.copied:,} copied" if state.copied else ""),
            "failed": _failed(state.statuses),
            "boxes": f"{state.boxes:,}",
            "images/s": _throughput(state.rate(datetime.now(UTC)), found.images - state.images),
            "CPU": f"{1000 * state.cpu_seconds / state.images:.1f} ms an image" if state.images else "none yet",
            "published": "no" if manifest is None else f"{manifest.status}, {manifest.published_at}",
        }
    )


@main.command()
def schema() -> None:
    """Print the JSON Schema of records and manifests.

    \b
    Example:
      boxcar schema > schema.json
    """
    from jobs.manifest import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


def _store(uri: str) -> Store:
    from jobs.storage import open_store

    return open_store(uri)


def _make_plan(source: Store, output: Store, wanted: Wanted) -> Plan:
    from jobs.plan import make_plan

    model, options = _open_wanted(wanted)
    _say(f"reading the listing of {source.uri}")
    started = datetime.now(UTC).replace(microsecond=0)  # a plan's time has whole seconds
    made = make_plan(source, output, model, options, _warn)
    if datetime.fromisoformat(made.planned_at) < started:
        _warn(
            f"plan of {made.planned_at} found: {made.images:,} images; "
            "what changed in INPUT since then belongs to a new OUTPUT"
        )
    return made


def _show_plan(source: Store, output: Store, wanted: Wanted) -> None:
    """What a plan would hold, or the one that is there does."""
    from jobs.plan import survey
    from jobs.status import read_status

    model, options = _open_wanted(wanted)
    _say(f"reading the listing of {source.uri}")
    found = survey(source, output, model, options, _warn)
    there = "none yet"
    if found.plan is not None:
        done = read_status(output, found.plan).parts
        there = f"run {found.plan.run} of {found.plan.planned_at}, {done:,} of its parts in place"
    _print(
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


def _open_wanted(wanted: Wanted) -> tuple[Model, Options]:
    """The artifact, verified, and the options of its plan."""
    from detector.artifact import SHIPPED
    from jobs.manifest import STATUSES, Filters
    from jobs.model import open_model
    from jobs.plan import IMAGE_FILTERS, Options

    if wanted.redo and wanted.since is None:
        raise UsageError("--redo chooses among the records that --since copies; give --since too")
    if unknown := sorted(set(wanted.redo) - set(STATUSES)):
        raise UsageError(f"--redo {unknown[0]}: not a status; give one of {', '.join(STATUSES)}")
    if wanted.model is None:
        _say("no --model: the shipped artifact, for the 20 classes of PASCAL VOC")
    elif not wanted.model.is_dir():
        raise ModelError(
            f"{wanted.model}: no artifact here; build one with `dvc repro`, or leave --model out for the shipped one"
        )
    model = open_model(wanted.model or SHIPPED)
    return model, Options(
        min_score=model.artifact.operating_score if wanted.min_score is None else wanted.min_score,
        part_size=wanted.part_size,
        filters=Filters(
            include=sorted(set(wanted.include)),
            exclude=sorted(set(wanted.exclude)),
            extensions=sorted(set(wanted.extensions)) or IMAGE_FILTERS.extensions,
        ),
        inventory=wanted.inventory,
        since=wanted.since,
        redo=sorted(set(wanted.redo)),
    )


def _warn(what: str) -> None:
    """What a person or a log should know, though nothing is wrong."""
    click.echo(what, err=True)


def _work(output: Store, plan: Plan, parts: list[PlanPart], threads: int | None, processes: int | None) -> float | None:
    """Make parts on this machine under a progress display; images a second."""
    from jobs.engines import local
    from jobs.parts import missing_parts
    from jobs.progress import Shown

    threads = threads or max(local.cores(), processes or 1)
    with Shown(sum(part.count for part in parts)) as shown:
        todo = missing_parts(output, plan, parts, shown)
        local.make(output, plan, todo, threads, processes or local.spread(threads), shown)
        return shown.rate


def _work_on_ray(output: Store, plan: Plan, address: str | None) -> float | None:
    """Make all parts on a Ray cluster under a progress display; images a second."""
    from jobs.engines import ray
    from jobs.parts import missing_parts
    from jobs.progress import Shown

    with Shown(plan.images) as shown:
        ray.make(output, plan, missing_parts(output, plan, plan.parts, shown), address, shown)
        return shown.rate


def _pointer(uri: str | None, source_uri: str, output: Store) -> LatestPointer | None:
    from jobs.latest import LatestPointer

    return None if uri is None else LatestPointer(uri, source_uri, output)


def _conclude(output: Store, manifest: Manifest, rate: float | None, pointer: LatestPointer | None) -> None:
    """Say what was published; move the pointer for a valid run; end with exit 3 for a rejected one."""
    from jobs.finish import VALIDATION
    from jobs.manifest_file import MANIFEST

    _print(
        {
            "images": f"{manifest.images:,}",
            "failed": _failed(manifest.statuses),
            "boxes": f"{sum(manifest.boxes.values()):,}",
            "images/s": _rate(rate),
            "verdict": manifest.status,
            "manifest": output.uri + MANIFEST,
        }
    )
    if not manifest.images:
        click.echo(f"warning: no images below {manifest.input}; check the INPUT", err=True)
    if manifest.status == "rejected":
        raise RejectedError(
            f"{output.uri}: published as rejected; {output.uri}{VALIDATION} says which rules are broken"
        )
    if pointer is not None and (reason := pointer.move()) is not None:
        click.echo(f"{pointer.uri} was kept: {reason}")


def _say(what: str) -> None:
    """Tell a person what takes its time; logs get results only."""
    if sys.stderr.isatty():
        click.echo(f"{what} ...", err=True)


def _failed(statuses: Mapping[str, int]) -> str:
    counts = {status: count for status, count in statuses.items() if status != "ok" and count}
    details = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    return f"{sum(counts.values()):,}" + (f" ({details})" if details else "")


def _throughput(rate: float | None, left: int) -> str:
    """Of the last minutes, and when what is left is done at this rate."""
    if not left:
        return "all done"
    if not rate:
        return "nothing was finished in the last quarter of an hour"
    return f"{rate:.1f}, {timedelta(seconds=round(left / rate))} left"


def _rate(rate: float | None) -> str:
    return "nothing to do" if rate is None else f"{rate:.1f}"


def _print(lines: Mapping[str, str]) -> None:
    width = max(map(len, lines)) + 2
    for name, value in lines.items():
        click.echo(f"{name:<{width}}{value}")
