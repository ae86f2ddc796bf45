"""`boxcar lineage`."""

from __future__ import annotations

import click

from jobs.cli.text import print_lines


@click.command()
@click.argument("output")
@click.option("--image", metavar="URI", help="Begin at the record of this image.")
def lineage(output: str, image: str | None) -> None:
    """Show what made a published run: from a record to the manifest, plan, artifact, code, settings and data.

    \b
    Example:
      boxcar lineage s3://boxes/2024/ --image s3://photos/2024/a.jpg
    """
    from jobs.lineage import checks, trace, trace_image
    from jobs.plan import require_plan
    from jobs.published_run import PublishedRun

    run = PublishedRun.open(output)
    plan = require_plan(run.store)
    chain = trace(run, plan)
    print_lines((trace_image(run, plan, image) if image is not None else {}) | chain)
    commands = checks(run.manifest, plan)
    if commands:
        click.echo("\nto bring the detector's project back, in a clone of it:")
        for command in commands:
            click.echo(f"  {command}")
