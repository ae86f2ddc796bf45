"""`boxcar show`."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.shared import open_published
from jobs.cli.text import print_lines, table


@click.command()
@click.argument("output")
@click.argument("image")
@click.option(
    "--draw",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the image with its boxes drawn to this file, as PNG or JPEG by its name.",
)
def show(output: str, image: str, draw: Path | None) -> None:
    """Show the record of one image of a published run; IMAGE is its URI, or its key below INPUT.

    \b
    Example:
      boxcar show s3://boxes/2024/ 06/street.jpg --draw street.png
    """
    from jobs.draw import draw_record
    from jobs.lookup import find_record
    from jobs.plan import open_input, require_plan

    run = open_published(output)
    plan = require_plan(run.store)
    found = find_record(run, plan, image)
    record = found.record
    print_lines(
        {
            "image": record.image,
            "status": record.status + (f": {record.error}" if record.error else ""),
            "size": f"{record.width} x {record.height}" if record.width else "not known",
            "etag": record.etag or "not known",
            "record": f"{run.store.uri}{found.entry.key}, line {found.line}",
            "boxes": f"{len(record.boxes)} with a score of {plan.min_score:g} or more",
        }
    )
    if record.boxes:
        rows = [["label", "score", "x", "y", "width", "height"]]
        for box in record.boxes:
            numbers = (f"{edge:g}" for edge in (box.x, box.y, box.width, box.height))
            rows.append([box.label, f"{box.score:.4f}", *numbers])
        click.echo()
        click.echo("\n".join(table(rows, align=">")))
    if draw is not None:
        draw_record(open_input(plan), found, run.labels(), draw)
        click.echo(f"\ndrawn: {draw}")
