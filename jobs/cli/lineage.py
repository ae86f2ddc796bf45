"""`boxcar lineage`."""

from __future__ import annotations

import json

import click

from jobs.cli.text import print_lines
from jobs.errors import ModelError


@click.command()
@click.argument("output")
@click.option("--image", metavar="URI", help="Begin at the record of this image.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def lineage(output: str, image: str | None, as_json: bool) -> None:
    """Show what made a published run: from a record to the manifest, plan, artifact, code, settings and data.

    Where boxes of earlier runs were labels of the artifact, these runs are followed too, as far as they are published.

    \b
    Example:
      boxcar lineage s3://boxes/2024/ --image s3://photos/2024/a.jpg
    """
    from jobs.label_runs import describe, teachers
    from jobs.lineage import checks, trace, trace_image
    from jobs.plan import require_plan
    from jobs.published_run import PublishedRun

    run = PublishedRun.open(output)
    plan = require_plan(run.store)
    chain = trace(run, plan)
    if image is not None:
        chain = trace_image(run, plan, image) | chain
    try:
        found = teachers(run)
        chain |= {} if found else {"labels": "no run is recorded"}
    except ModelError as error:
        found = ()
        chain |= {"labels": f"not known: {error}"}
    commands = checks(run.manifest, plan)
    if as_json:
        behind = {"label_runs": [teacher.plain() for teacher in found], "commands": commands}
        click.echo(json.dumps(chain | behind, indent=2, ensure_ascii=False))
        return
    print_lines(chain)
    for title, lines in (
        ("the artifact's labels came from:", describe(found)),
        ("to bring the detector's project back, in a clone of it:", commands),
    ):
        if lines:
            click.echo("\n".join(["", title, *(f"  {line}" for line in lines)]))
