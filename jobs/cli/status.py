"""`boxcar status`."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from jobs.cli.text import failed, print_lines, throughput


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
