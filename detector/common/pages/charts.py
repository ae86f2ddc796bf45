"""Charts as numbers that a template draws with: rows with bars, columns of a histogram, curves. Every one keeps its
values as texts, for those who do not see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# A column chart's drawing, in units of its viewBox.
WIDTH, HEIGHT, BASE = 440.0, 190.0, 160.0
_TOP = 22.0


@dataclass(frozen=True)
class Row:
    """One bar of a table: its length and its mark's place are parts of 100. texts: the table's cells."""

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
    """One row a name; references: what each value is held against; top: the value at 100, the largest of all unless
    given."""
    top = top or max([*values, *(references or []), 0.0]) or 1.0
    marks = [None] * len(names) if references is None else [round(100 * value / top, 2) for value in references]
    return [
        Row(name, round(100 * value / top, 2), mark, cells)
        for name, value, mark, cells in zip(names, values, marks, texts, strict=True)
    ]


@dataclass(frozen=True)
class Column:
    """One column: its rectangle, and the height of its mark, in units of the drawing."""

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
    """A histogram; ticks: (x, text) of the bins' edges."""

    columns: tuple[Column, ...]
    ticks: tuple[tuple[float, str], ...]


def columns(
    edges: Sequence[float], values: Sequence[float], references: Sequence[float] | None, decimals: int = 1
) -> Columns:
    """edges: one more than values, ascending; values, references: shares 0..1, which texts give as percentages."""
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
    """A curve in a unit square drawn 100 by 100, y upwards: an SVG path, and the one of the area below it."""

    name: str
    line: str
    area: str
    texts: tuple[str, ...]


def curve(name: str, points: Sequence[tuple[float, float]], texts: tuple[str, ...]) -> Curve:
    """points: (x, y), 0..1, x not falling; none gives an empty path."""
    if not points:
        return Curve(name, "", "", texts)
    drawn = " ".join(f"{100 * x:.1f} {100 - 100 * y:.1f}" for x, y in points)
    return Curve(name, f"M{drawn}", f"M{100 * points[0][0]:.1f} 100 {drawn} {100 * points[-1][0]:.1f} 100Z", texts)
