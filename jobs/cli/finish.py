"""`boxcar finish`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobs.cli.options import latest_option, policy_options
from jobs.cli.shared import conclude, open_pointer
from jobs.cli.text import say

if TYPE_CHECKING:
    from jobs.rules.policy import Policy


@click.command()
@click.argument("output")
@policy_options
@latest_option
def finish(output: str, policy: Policy, latest: str | None) -> None:
    """Check every part, validate the records, and publish manifest.json.

    \b
    Example:
      boxcar finish s3://boxes/2024/ --latest s3://boxes/latest.json
    """
    from jobs.plan import require_plan
    from jobs.publish import finish as finish_run
    from jobs.storage import open_store

    destination = open_store(output)
    found = require_plan(destination)
    pointer = open_pointer(latest, found.input, destination, found.limit)
    say("validating the records")
    conclude(destination, finish_run(destination, found, policy), None, pointer)
