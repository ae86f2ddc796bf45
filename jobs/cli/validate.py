"""`boxcar validate`."""

from __future__ import annotations

import click

from jobs.cli.text import say, table
from jobs.errors import RejectedError


@click.command()
@click.argument("output")
def validate(output: str) -> None:
    """Judge the records of a complete run by the rules, without publishing it.

    Writes quality/validation.json and prints what each rule says. --max-failed and --strict are those that the run was
    published with, or the defaults where it is not published yet.

    \b
    Example:
      boxcar validate s3://boxes/2024/
    """
    from jobs.plan import require_plan
    from jobs.publish import VALIDATION
    from jobs.publish import validate as judge
    from jobs.storage import open_store

    destination = open_store(output)
    found = require_plan(destination)
    say("validating the records")
    validation = judge(destination, found)
    rows = []
    for rule in validation.rules:
        rows.append([rule.verdict, rule.rule, rule.sentence])
        if rule.verdict != "passed" or rule.severity == "warn":
            rows.append(["", "", rule.observed])
        if rule.verdict != "passed":
            rows += [["", "", repr(image)] for image in rule.examples]
    click.echo("\n".join(table(rows)))
    click.echo(f"verdict: {validation.status}")
    if validation.status == "rejected":
        raise RejectedError(f"{destination.uri}: rejected; {destination.uri}{VALIDATION} names images for each rule")
