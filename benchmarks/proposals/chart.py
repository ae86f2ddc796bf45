"""Draw the chart of `benchmarks.proposals`: quality over the number of boxes, and quality over time."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.proposals.measure import IOUS, Row

# Okabe and Ito's palette, which colour-blind readers can distinguish. A tool has one hue, and its quality mode the
# darker shade.
_LINES: dict[str, tuple[str, str]] = {
    "ours-fast": ("#56B4E9", "-"),
    "ours-quality": ("#0072B2", "-"),
    "opencv-fast": ("#E69F00", "-"),
    "opencv-quality": ("#D55E00", "-"),
    "dlib": ("#009E73", "-"),
    "sliding-window": ("#777777", "--"),
    "random": ("#777777", ":"),
}
STYLE: dict[Any, Any] = {
    "font.size": 11.5,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
}
# 1,600 pixels: sharp at twice GitHub's width of a README.
WIDTH, DPI = 10.0, 160
# The curves begin here, because a detector takes more boxes than this.
_FEWEST = 10
_THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")


def draw(rows: Mapping[str, Row], title: str, path: Path) -> None:
    """Write a PNG; rows by the names of TOOLS and REFERENCES."""
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 8.4), dpi=DPI, layout="constrained")
        axes = figure.subplots(2, 2)
        panels = [("Mean average best overlap", {name: row.curve.mabo for name, row in rows.items()})]
        for iou in IOUS:
            panels.append((f"Recall at IoU {iou}", {name: row.curve.recall[iou] for name, row in rows.items()}))
        for panel, (heading, values) in zip(axes.flat[:3], panels, strict=True):
            _curves(panel, rows, heading, values)
        _times(axes[1, 1], rows)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        figure.suptitle(title)
        figure.savefig(path)


def _curves(axes: Axes, rows: Mapping[str, Row], heading: str, values: Mapping[str, list[float]]) -> None:
    for name, row in rows.items():
        colour, line = _LINES[name]
        axes.plot(row.curve.boxes, values[name], line, color=colour, linewidth=2.2, label=row.title)
        if row.run is not None:
            axes.plot(row.curve.boxes[-1], values[name][-1], "o", color=colour, markersize=6, clip_on=False)
    axes.set(title=heading, xlabel="boxes an image (mean); dot: all of a tool's", xscale="log", ylim=(0, 1))
    axes.set_xlim(left=_FEWEST)
    axes.xaxis.set_major_formatter(_THOUSANDS)
    axes.xaxis.set_minor_locator(NullLocator())


def _times(axes: Axes, rows: Mapping[str, Row]) -> None:
    axes.set(title="MABO of the first 1,000 boxes, and time", xscale="log")
    axes.set_xlabel("ms an image (median, one thread)")
    sides = cycle([(1.0, "right"), (0.0, "left")])  # two references may lie close to each other
    timed = [(row.milliseconds, row.curve.at(1000)[0]) for row in rows.values() if row.milliseconds is not None]
    for name, row in rows.items():
        value = row.curve.at(1000)[0]
        colour, line = _LINES[name]
        if row.milliseconds is None:
            axes.axhline(value, linestyle=line, color=colour, linewidth=1.5)
            x, side = next(sides)
            place = (x, value), (0, 3)
            axes.annotate(
                row.title, *place, ("axes fraction", "data"), "offset points", color=colour, ha=side, va="bottom"
            )
        else:
            axes.plot(row.milliseconds, value, "o", color=colour, markersize=10)
            # Where two lie close to each other, the label of the lower one goes below.
            below = any(value < other and 1 / 5 < row.milliseconds / time < 5 for time, other in timed)
            axes.annotate(
                row.title,
                (row.milliseconds, value),
                (0, -9 if below else 9),
                textcoords="offset points",
                ha="center",
                va="top" if below else "bottom",
            )
    axes.margins(x=0.25, y=0.15)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(_THOUSANDS)
    axes.xaxis.set_minor_locator(NullLocator())
