"""What several commands share: planning, opening a published run, and the summary at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from jobs.cli.text import failed, print_lines, rate_text, say, warn
from jobs.errors import RejectedError, UsageError
from jobs.left_out import left_out

if TYPE_CHECKING:
    from detector.runtime.tiling import Tiling
    from jobs.formats import Manifest, Plan, PlanOptions
    from jobs.latest import LatestPointer
    from jobs.model import Model
    from jobs.published_run import PublishedRun
    from jobs.storage import Store

# Sizes for which the cost of tiles is shown, (height, width): a video frame and a 12-megapixel photograph.
LOOKED_AT = ((1080, 1920), (3000, 4000))


def open_ends(source: str, output: str, chosen: dict[str, Any]) -> tuple[Store, Store]:
    """INPUT, read as the options say, and OUTPUT."""
    from jobs.storage import open_store

    access = {name: chosen[name] for name in ("request_payer", "no_sign_request")}
    return open_store(source, **access), open_store(output)


def freeze_plan(source: Store, output: Store, chosen: dict[str, Any]) -> Plan:
    """The plan in OUTPUT: a new one, or the one that is there."""
    from jobs.plan import make_plan

    with _opened(source, chosen) as (model, options):
        say(f"reading the listing of {source.uri}")
        return make_plan(source, output, model, options, warn)


def show_plan(source: Store, output: Store, chosen: dict[str, Any]) -> None:
    """Print what a plan would hold, or what the one that is there holds."""
    from jobs.plan import survey
    from jobs.status import read_status

    with _opened(source, chosen) as (model, options):
        say(f"reading the listing of {source.uri}")
        found = survey(source, output, model, options, warn)
    counts, copies = found.counts, found.copies
    unchanged = "0"
    if found.since is not None and found.since.output is not None:
        unchanged = f"{copies.images:,} ({copies.bytes:,} bytes; their records may be copied from {found.since.output})"
    there = "none yet"
    if found.plan is not None:
        done = read_status(output, found.plan).parts
        there = f"run {found.plan.run} of {found.plan.planned_at}, {done:,} of its parts in place"
    tiling = options.tiling
    print_lines(
        {
            "plan": there,
            "images": f"{counts.images:,} in {found.parts:,} parts",
            **({} if tiling is None else {"looks": _looks_text(tiling)}),
            "download": f"{counts.bytes - copies.bytes:,} bytes of {counts.images - copies.images:,} images",
            "unchanged": unchanged,
            "left out": left_out(counts) or "nothing",
            "output": f"{output.uri} (dry run: nothing was written)",
        }
    )


def _looks_text(tiling: Tiling) -> str:
    """How often the detector looks at images of some sizes. A listing tells no sizes, so that no sum can be given."""
    some = ", ".join(f"{tiling.looks(height, width):,} at {width} x {height}" for height, width in LOOKED_AT)
    return f"1 at an image up to {tiling.side} x {tiling.side} pixels, {some}; the listing does not tell their sizes"


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
    if chosen["overlap"] is not None and chosen["tile"] is None:
        raise UsageError("--overlap is that of tiles; give --tile too")
    if name is None:
        say("no --model: the shipped artifact, for the 20 classes of PASCAL VOC")
    with named_model(name) as model:
        yield model, plan_options(source, model, **others)


def open_pointer(uri: str | None, source_uri: str, output: Store, limit: int | None) -> LatestPointer | None:
    """The latest.json that `--latest` names, checked before any work; None without the option. limit: that of the
    plan."""
    from jobs.latest import LatestPointer

    if uri is not None and limit is not None:
        raise UsageError("--latest: a trial with --limit is not the newest run; leave one of the two out")

    return None if uri is None else LatestPointer(uri, source_uri, output)


def open_published(output: str) -> PublishedRun:
    """The published run in OUTPUT; warns when it was rejected."""
    from jobs.published_run import PublishedRun

    run = PublishedRun.open(output)
    if run.manifest.status != "valid":
        warn(
            f"warning: {run.store.uri} was published as {run.manifest.status}; "
            f"{run.store.uri}quality/validation.json says why"
        )
    return run


def conclude(output: Store, manifest: Manifest, rate: float | None, pointer: LatestPointer | None) -> None:
    """Print what was published, and move the pointer to a valid run. Raises RejectedError for a rejected one."""
    from jobs.publish import VALIDATION
    from jobs.published_run import MANIFEST
    from jobs.report import REPORT

    counted = "other_files" in manifest.model_fields_set  # an older version did not count
    print_lines(
        {
            "images": f"{manifest.images:,}",
            **({"left out": left_out(manifest) or "nothing"} if counted else {}),
            "failed": failed(manifest.statuses),
            "boxes": f"{sum(manifest.boxes.values()):,}",
            "images/s": rate_text(rate),
            "verdict": manifest.status,
            "report": output.uri + REPORT,
            "manifest": output.uri + MANIFEST,
        }
    )
    if not manifest.images:
        others = (
            f"; --extensions '*' plans the {manifest.other_files:,} other files too" if manifest.other_files else ""
        )
        click.echo(f"warning: no images below {manifest.input}; check the INPUT{others}", err=True)
    for rule in manifest.warnings:
        click.echo(f"warning: {rule}: {output.uri}{VALIDATION} says why", err=True)
    if manifest.status == "rejected":
        raise RejectedError(
            f"{output.uri}: published as rejected; {output.uri}{VALIDATION} says which rules are broken"
        )
    if pointer is not None and (reason := pointer.move()) is not None:
        click.echo(f"{pointer.uri} was kept: {reason}")
