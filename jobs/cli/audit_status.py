"""`boxcar audit status`."""

from __future__ import annotations

import click

from jobs.cli.shared import open_published
from jobs.cli.text import print_lines
from jobs.errors import IncompleteError, RejectedError


@click.command()
@click.argument("output", metavar="RUN")
def status(output: str) -> None:
    """Tell whether people have audited a run: a gate for whatever uses its boxes.

    Ends with exit 0 when the audit accepts the run, 3 when the audit rejects it, and 4 when this manifest has none.

    \b
    Example:
      boxcar audit status s3://boxes/2024/ && next-step
    """
    from jobs.audit.record import AUDIT, published_audit
    from jobs.audit.words import share_range

    run = open_published(output)
    audit = published_audit(run.store, run.digest)
    if audit is None:
        raise IncompleteError(
            f"{run.store.uri}: not audited; draw a sample of it with: boxcar audit draw {run.store.uri}"
        )
    every = audit.precision[0]
    print_lines(
        {
            "run": audit.run,
            "audit": audit.status,
            "reviewers": ", ".join(reviewer.name for reviewer in audit.reviewers),
            "right boxes": share_range(every.low, every.high),
        }
    )
    if audit.status == "rejected":
        raise RejectedError(
            f"{run.store.uri}: rejected by its audit, which demands {audit.reject_below:.1%} right boxes; "
            f"{run.store.uri}{AUDIT} says what was found"
        )
