"""The group `boxcar audit`."""

from __future__ import annotations

import click

from jobs.cli import audit_draw, audit_judge, audit_status


@click.group()
def audit() -> None:
    """Say how many boxes of a run are right, from what people see in a sample of it.

    \b
    Example:
      boxcar audit draw s3://boxes/2024/ --out audit/        # then people look at audit/audit.html
      boxcar audit judge s3://boxes/2024/ verdicts-*.json --precision 0.9 --reject-below 0.7
      boxcar audit status s3://boxes/2024/ && next-step
    """


for command in (audit_draw.draw, audit_judge.judge, audit_status.status):
    audit.add_command(command)
