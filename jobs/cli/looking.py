"""Commands that look at a run: `boxcar status`, `validate` and `schema`."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from jobs.cli.options import DEFAULT_MAX_FAILED
from jobs.cli.text import failed, print_lines, say, throughput
from jobs.errors import RejectedError


@click.command()
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
    from jobs.storage import open_store

    destination = open_store(output)
    found = require_plan(destination)
    manifest = read_manifest(destination)
    max_failed = DEFAULT_MAX_FAILED if manifest is None else manifest.max_failed
    say("validating the records")
    validation = examine(destination, found, max_failed).validation
    for rule in validation.rules:
        click.echo(f"{'pass' if rule.passed else 'FAIL'}  {rule.rule:<16} {rule.observed:<16} {rule.sentence}")
        for image in [] if rule.passed else rule.examples:
            click.echo(f"        {image!r}")
    click.echo(f"verdict: {validation.status}")
    if validation.status == "rejected":
        raise RejectedError(f"{destination.uri}: rejected; {destination.uri}{VALIDATION} names images for each rule")


@click.command()
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
    from jobs.storage import open_store

    destination = open_store(output)
    found = require_plan(destination)
    state = read_status(destination, found)
    manifest = read_manifest(destination)
    print_lines(
        {
            "run": found.run,
            "input": found.input,
            "parts": f"{state.parts:,} of {len(found.parts):,}",
            "images": f"{state.images:,} of {found.images:,}" + (f", {state.copied:,} copied" if state.copied else ""),
            "failed": failed(state.statuses),
            "boxes": f"{state.boxes:,}",
            "images/s": throughput(state.rate(datetime.now(UTC)), found.images - state.images),
            "CPU": f"{1000 * state.cpu_seconds / state.images:.1f} ms an image" if state.images else "none yet",
            "published": "no" if manifest is None else f"{manifest.status}, {manifest.published_at}",
        }
    )


@click.command()
def schema() -> None:
    """Print the JSON Schema of records and manifests.

    \b
    Example:
      boxcar schema > schema.json
    """
    from jobs.manifest import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
