"""`boxcar plan`."""

from __future__ import annotations

from typing import Any

import click

from jobs.cli.options import plan_options
from jobs.cli.shared import freeze_plan, show_plan
from jobs.cli.text import print_lines


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
    frozen = freeze_plan(open_store(source), destination, chosen)
    print_lines(
        {
            "run": frozen.run,
            "images": f"{frozen.images:,} in {len(frozen.parts):,} parts",
            "unchanged": f"{frozen.copies:,} (their records may be copied)",
            "filtered out": f"{frozen.filtered:,} (by --include and --exclude; not planned)",
            "other files": f"{frozen.other_files:,} (no images by their extension; not planned)",
            "plan": f"{destination.uri}plan.json",
        }
    )
