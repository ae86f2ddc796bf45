"""`boxcar report`."""

from __future__ import annotations

import click

from jobs.cli.text import print_lines, say


@click.command()
@click.argument("output")
def report(output: str) -> None:
    """Write report.html: a run on one page, with its verdict, its numbers, and images with their boxes.

    The run must be complete and validated. Its images are read once more for thumbnails; the page says which are gone.

    \b
    Example:
      boxcar report s3://boxes/2024/
    """
    from jobs.plan import require_plan
    from jobs.publish import write_report
    from jobs.report import REPORT
    from jobs.storage import open_store

    destination = open_store(output)
    plan = require_plan(destination)
    say("reading the records and the images of the page")
    validation = write_report(destination, plan)
    print_lines({"verdict": validation.status, "report": destination.uri + REPORT})
