"""`boxcar schema`."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of every file in an OUTPUT and of sample.json.

    \b
    Example:
      boxcar schema > schema.json
    """
    from jobs.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
