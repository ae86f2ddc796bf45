"""`boxcar report`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobs.cli.text import print_lines, say
from jobs.errors import IncompleteError, UsageError

if TYPE_CHECKING:
    from jobs.formats import Manifest, Plan, Validation
    from jobs.storage import Store


@click.command()
@click.argument("output")
def report(output: str) -> None:
    """Write report.html: a run on one page, with its verdict, its numbers and pictures with their boxes.

    The run must be complete and validated. Its images are read once more for thumbnails; those that are gone are
    missing on the page.

    \b
    Example:
      boxcar report s3://boxes/2024/
    """
    from jobs.manifest_file import read_manifest
    from jobs.model import run_model
    from jobs.parts import Flaw, find_parts
    from jobs.plan import require_plan
    from jobs.report import REPORT, Collector, render
    from jobs.storage import open_store

    destination = open_store(output)
    plan = require_plan(destination)
    manifest = read_manifest(destination)
    validation = _read_validation(destination, plan, manifest)
    if manifest is not None and manifest.lineage.plan_digest != plan.digest:
        raise UsageError(f"{destination.uri}: its manifest is of another plan; publish with: boxcar finish {output}")
    with run_model(destination, plan) as model:
        artifact = model.artifact
    say("reading the records")
    collector = Collector(plan, artifact.classes)
    for item in find_parts(destination, plan, plan.parts):
        if isinstance(item.found, Flaw):
            raise IncompleteError(
                f"{destination.uri}: {item.part.name} is not there ({item.found.reason}); "
                f"make it with: boxcar work {destination.uri}"
            )
        collector.add(item.images, item.found.records)
    say("reading pictures")
    page = render(destination, plan, artifact, validation, collector, manifest)
    destination.write(REPORT, page)
    print_lines({"verdict": validation.status, "report": destination.uri + REPORT})


def _read_validation(output: Store, plan: Plan, manifest: Manifest | None) -> Validation:
    """What the rules said of this very run; raises UsageError where they have not."""
    from pydantic import ValidationError

    from jobs.formats import Validation, read, sha256, summary
    from jobs.publish import VALIDATION

    data = output.read(VALIDATION)
    if data is None:
        raise UsageError(f"{output.uri}{VALIDATION}: not there; judge the run first with: boxcar validate {output.uri}")
    if manifest is not None and manifest.validation_sha256 != sha256(data):
        raise UsageError(
            f"{output.uri}{VALIDATION}: not the verdict that was published; put it right with: "
            f"boxcar finish {output.uri}"
        )
    try:
        validation = read(Validation, data)
    except ValidationError as error:
        raise UsageError(
            f"{output.uri}{VALIDATION}: cannot be read: {summary(error)}; judge the run again with: "
            f"boxcar validate {output.uri}"
        ) from error
    if validation.run != plan.run:
        raise UsageError(
            f"{output.uri}{VALIDATION}: of run {validation.run}, not {plan.run}; judge the run again with: "
            f"boxcar validate {output.uri}"
        )
    return validation
