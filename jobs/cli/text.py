"""What commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta

import click


def warn(what: str) -> None:
    """Print a notice for people and logs."""
    click.echo(what, err=True)


def say(what: str) -> None:
    """Print on a terminal what is being done; logs get results only."""
    if sys.stderr.isatty():
        click.echo(f"{what} ...", err=True)


def failed(statuses: Mapping[str, int]) -> str:
    """The number of images that failed, with the count of each status."""
    counts = {status: count for status, count in statuses.items() if status != "ok" and count}
    details = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    return f"{sum(counts.values()):,}" + (f" ({details})" if details else "")


def throughput(rate: float | None, left: int) -> str:
    """Images a second in the last minutes, and the time that the images left take at this rate."""
    if not left:
        return "all done"
    if not rate:
        return "nothing was finished in the last quarter of an hour"
    return f"{rate:.1f}, {timedelta(seconds=round(left / rate))} left"


def rate_text(rate: float | None) -> str:
    """Images a second, for a summary."""
    return "nothing to do" if rate is None else f"{rate:.1f}"


def print_lines(lines: Mapping[str, str]) -> None:
    """Print one line for each name and its value."""
    click.echo("\n".join(table([[name, value] for name, value in lines.items()])))


def table(rows: Sequence[Sequence[str]], align: str = "<") -> list[str]:
    """The lines of a table whose columns are as wide as needed.

    align: "<" for left or ">" for right; the first column is always aligned to the left.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{cell:{align if number else '<'}{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
