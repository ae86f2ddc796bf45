"""`boxcar audit judge`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.options import Share
from jobs.cli.shared import open_published
from jobs.cli.text import print_lines, say, table
from jobs.errors import RejectedError, UsageError

if TYPE_CHECKING:
    from jobs.formats import Audit


class Precision(Share):
    """A share above 0 and below 1: from a sample, nothing shows that all boxes are right."""

    def __init__(self) -> None:
        super().__init__()
        self.min_open = self.max_open = True


@click.command()
@click.argument("output", metavar="RUN")
@click.argument("verdicts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--precision",
    type=Precision(),
    metavar="P",
    help="Look for the score from which on at least this share of the boxes is right.",
)
@click.option(
    "--reject-below",
    type=Precision(),
    metavar="P",
    help="Reject the run unless at least this share of all boxes is shown to be right.",
)
@click.option(
    "--corrected",
    metavar="FOLDER",
    help="Also write images that were audited completely, with labels as people corrected them, in COCO's format.",
)
def judge(
    output: str, verdicts: tuple[Path, ...], precision: float | None, reject_below: float | None, corrected: str | None
) -> None:
    """Make statements about the run from the verdicts of people: quality/audit.json, and a section of report.html.

    VERDICTS are the files that the page of `boxcar audit draw` has saved, one of each person. Every statement holds
    with 95 % confidence. The manifest is not touched.

    \b
    Example:
      boxcar audit judge s3://boxes/2024/ verdicts-ana.json verdicts-ben.json --precision 0.9
    """
    from jobs.rules.review import check_installed

    check_installed("the run cannot be audited")
    from jobs.audit.corrected import write_corrected
    from jobs.audit.judge import collect, make_audit
    from jobs.audit.record import AUDIT
    from jobs.audit.verdicts import read_verdicts
    from jobs.plan import require_plan
    from jobs.publish import write_report
    from jobs.report import REPORT

    if corrected is not None and "://" in corrected:
        raise UsageError(f"--corrected {corrected}: give a folder of this machine, and copy the file from there")
    run = open_published(output)
    given = read_verdicts(verdicts)
    say(f"reading {run.manifest.images:,} records")
    judged = collect(run, given)
    made = make_audit(run, given, judged, precision, reject_below)
    run.store.write(AUDIT, made.pretty())
    say("reading the records and the images of the report")
    write_report(run.store, require_plan(run.store))
    _show(made)
    if corrected is not None:
        count, paths = write_corrected(run, judged, Path(corrected))
        print_lines({"corrected": f"{count:,} of {len(judged.records):,} images, {', '.join(map(str, paths))}"})
    print_lines({"audit": made.status, "written": f"{run.store.uri}{AUDIT}, {run.store.uri}{REPORT}"})
    if made.status == "rejected":
        raise RejectedError(
            f"{run.store.uri}: not shown to have {reject_below:.1%} right boxes, only {made.precision[0].low:.1%}; "
            "do not use its boxes, or judge more of them"
        )


def _show(audit: Audit) -> None:
    """Print the statements."""
    from jobs.audit.words import WORDS, statements

    for title, rows in statements(audit).items():
        click.echo(f"{title}: {WORDS[title]}")
        click.echo("\n".join(f"  {line}" for line in table(rows, ">")) + "\n")
