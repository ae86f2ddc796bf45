"""Computes the numbers that a template needs to draw charts: rows with bars, columns of a histogram, and curves.

Every chart also has its values as texts, for readers who do not see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# The size of a column chart and the height of its base line, in units of its viewBox.
WIDTH, HEIGHT, BASE = 440.0, 190.0, 160.0
_TOP = 22.0


@dataclass(frozen=True)
class Row:
    """One bar of a table. length, mark: from 0 to 100; texts: the other cells of the row."""

    name: str
    length: float
    mark: float | None
    texts: tuple[str, ...]


def rows(
    names: Sequence[str],
    values: Sequence[float],
    references: Sequence[float] | None,
    texts: Sequence[tuple[str, ...]],
    top: float | None = None,
) -> list[Row]:
    """Return one row for each name.

    references: a value to compare with each of `values`, which becomes the row's mark. top: the value of a bar of
    length 100, by default the largest of all.
    """
    top = top or max([*values, *(references or []), 0.0]) or 1.0
    marks = [None] * len(names) if references is None else [round(100 * value / top, 2) for value in references]
    return [
        Row(name, round(100 * value / top, 2), mark, cells)
        for name, value, mark, cells in zip(names, values, marks, texts, strict=True)
    ]


@dataclass(frozen=True)
class Column:
    """One column: its rectangle, and the y of its mark, in units of the drawing."""

    name: str
    x: float
    y: float
    width: float
    height: float
    mark: float | None
    text: str
    mark_text: str | None


@dataclass(frozen=True)
class Columns:
    """A histogram. ticks: (x, text) of the edges of its bins."""

    columns: tuple[Column, ...]
    ticks: tuple[tuple[float, str], ...]


def columns(
    edges: Sequence[float], values: Sequence[float], references: Sequence[float] | None, decimals: int = 1
) -> Columns:
    """Return the histogram of `values`.

    edges: ascending, one more than values; values, references: shares 0..1, which the texts give as percentages.
    """
    top = max([*values, *(references or []), 0.0]) or 1.0
    step = WIDTH / max(1, len(values))
    reach = BASE - _TOP
    made = []
    for index, value in enumerate(values):
        reference = None if references is None else references[index]
        height = reach * value / top
        made.append(
            Column(
                name=f"{edges[index]:g} to {edges[index + 1]:g}",
                x=round(index * step + 0.09 * step, 2),
                y=round(BASE - height, 2),
                width=round(0.82 * step, 2),
                height=round(height, 2),
                mark=None if reference is None else round(BASE - reach * reference / top, 2),
                text=f"{100 * value:.{decimals}f}",
                mark_text=None if reference is None else f"{100 * reference:.{decimals}f}",
            )
        )
    return Columns(tuple(made), tuple((round(index * step, 2), f"{edge:g}") for index, edge in enumerate(edges)))


@dataclass(frozen=True)
class Curve:
    """A curve in a square of 100 by 100 units. line, area: SVG paths of the curve and of the area below it."""

    name: str
    line: str
    area: str
    texts: tuple[str, ...]


def curve(name: str, points: Sequence[tuple[float, float]], texts: tuple[str, ...]) -> Curve:
    """Return the curve through points (x, y) in 0..1, whose x never falls; without points its paths are empty."""
    if not points:
        return Curve(name, "", "", texts)
    drawn = " ".join(f"{100 * x:.1f} {100 - 100 * y:.1f}" for x, y in points)
    return Curve(name, f"M{drawn}", f"M{100 * points[0][0]:.1f} 100 {drawn} {100 * points[-1][0]:.1f} 100Z", texts)
