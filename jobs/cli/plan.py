"""`boxcar plan`."""

from __future__ import annotations

from typing import Any

import click

from jobs.cli.options import plan_options
from jobs.cli.shared import freeze_plan, open_ends, show_plan
from jobs.cli.text import print_lines
from jobs.left_out import left_out


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
    origin, destination = open_ends(source, output, chosen)
    if dry_run:
        show_plan(origin, destination, chosen)
        return
    frozen = freeze_plan(origin, destination, chosen)
    print_lines(
        {
            "run": frozen.run,
            "images": f"{frozen.images:,} in {len(frozen.parts):,} parts",
            "unchanged": f"{frozen.copies:,} (their records may be copied)",
            "left out": left_out(frozen) or "nothing",
            "plan": f"{destination.uri}plan.json",
        }
    )
