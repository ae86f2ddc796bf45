"""Commands that look at a run: `boxcar status` and `validate`."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from jobs.cli.text import failed, print_lines, say, throughput
from jobs.errors import RejectedError


@click.command()
@click.argument("output")
def validate(output: str) -> None:
    """Judge the records of a complete run by the rules, without publishing it.

    Writes quality/validation.json and Great Expectations' pages in quality/docs/, and prints what each rule says.
    --max-failed and --strict are those that the run was published with, or the defaults where it is not yet.

    \b
    Example:
      boxcar validate s3://boxes/2024/
    """
    from jobs.plan import require_plan
    from jobs.publish import VALIDATION
    from jobs.publish import validate as judge
    from jobs.storage import open_store

    destination = open_store(output)
    found = require_plan(destination)
    say("validating the records")
    validation = judge(destination, found)
    width = max(len(rule.rule) for rule in validation.rules) + 2
    for rule in validation.rules:
        click.echo(f"{rule.verdict:<10}{rule.rule:<{width}}{rule.sentence}")
        if rule.verdict != "passed" or rule.severity == "warn":
            click.echo(f"{'':<{10 + width}}{rule.observed}")
        for image in [] if rule.verdict == "passed" else rule.examples:
            click.echo(f"{'':<{10 + width}}{image!r}")
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
    from jobs.plan import require_plan
    from jobs.published_run import read_manifest
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
