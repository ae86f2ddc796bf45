"""How commands speak: results on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import timedelta

import click


def warn(what: str) -> None:
    """What a person or a log should know, though nothing is wrong."""
    click.echo(what, err=True)


def say(what: str) -> None:
    """Tell a person what takes its time; logs get results only."""
    if sys.stderr.isatty():
        click.echo(f"{what} ...", err=True)


def failed(statuses: Mapping[str, int]) -> str:
    counts = {status: count for status, count in statuses.items() if status != "ok" and count}
    details = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    return f"{sum(counts.values()):,}" + (f" ({details})" if details else "")


def throughput(rate: float | None, left: int) -> str:
    """Of the last minutes, and when what is left is done at this rate."""
    if not left:
        return "all done"
    if not rate:
        return "nothing was finished in the last quarter of an hour"
    return f"{rate:.1f}, {timedelta(seconds=round(left / rate))} left"


def shown_rate(rate: float | None) -> str:
    return "nothing to do" if rate is None else f"{rate:.1f}"


def print_lines(lines: Mapping[str, str]) -> None:
    width = max(map(len, lines)) + 2
    for name, value in lines.items():
        click.echo(f"{name:<{width}}{value}")
