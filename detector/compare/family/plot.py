"""Draws the comparison as one figure: the cost of training and of a test image, and the AP that it gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from detector.common.plotting import STYLE
from detector.compare.family.measure import Cost

_STEPS = (("proposals", "#E69F00"), ("network", "#0072B2"), ("post-processing", "#009E73"))


def draw(costs: Mapping[str, Cost], bounds: Mapping[str, tuple[float, float]], path: Path) -> None:
    """Write a PNG of three panels that share the members' names: training, a test image, AP.

    bounds: by member, the interval of its mAP@.5, which becomes a line on its bar.
    """
    with matplotlib.rc_context(STYLE | {"font.size": 10}):
        figure = Figure(figsize=(11, 0.55 * len(costs) + 1.6), dpi=130, layout="constrained")
        training, test, accuracy = figure.subplots(1, 3, sharey=True, width_ratios=(1, 1.3, 1))
        rows = list(costs.values())
        _bars(training, [(cost.training_seconds + cost.fitting_seconds) / 60 for cost in rows], "#56B4E9", "{:.1f}")
        training.set(xlabel="training, minutes", yticks=range(len(rows)), yticklabels=[cost.title for cost in rows])
        training.invert_yaxis()
        _test_time(test, rows)
        _accuracy(accuracy, rows, [bounds[name] for name in costs])
        for axes in (test, accuracy):
            axes.tick_params(axis="y", length=0)
        figure.savefig(path)


def _bars(axes: Axes, values: Sequence[float | None], colour: str, form: str) -> None:
    """Draw one bar for each member, or a dash if it has no figure."""
    lengths = [value or 0.0 for value in values]
    bars = axes.barh(range(len(values)), lengths, color=colour, height=0.6)
    axes.bar_label(bars, ["–" if value is None else form.format(value) for value in values], padding=3)
    axes.set_xlim(0, 1.18 * max([*lengths, 1e-3]))


def _accuracy(axes: Axes, rows: list[Cost], bounds: Sequence[tuple[float, float]]) -> None:
    """Draw one bar for each member, its interval as a line, and its figure behind both."""
    axes.barh(range(len(rows)), [cost.map_50 or 0.0 for cost in rows], color="#CC79A7", height=0.6)
    ends = [
        max(cost.map_50 or 0.0, 0.0 if math.isnan(high) else high) for cost, (_, high) in zip(rows, bounds, strict=True)
    ]
    for row, (cost, (low, high)) in enumerate(zip(rows, bounds, strict=True)):
        axes.plot((low, high), (row, row), color="#444444", linewidth=1.4)
        text = "–" if cost.map_50 is None else f"{cost.map_50:.3f}"
        axes.annotate(text, (ends[row], row), xytext=(5, 0), textcoords="offset points", va="center")
    axes.set(xlabel="mAP at IoU .5, 95 % interval", xlim=(0, 1.25 * max([*ends, 1e-3])))


def _test_time(axes: Axes, rows: list[Cost]) -> None:
    """Draw a mark for each step and a bar for their sum, because parts cannot be stacked on a logarithmic axis."""
    totals = [1000 * cost.test_seconds for cost in rows]
    axes.barh(range(len(rows)), totals, color="#E4E4E4", height=0.6, label="sum")
    parts = [(cost.proposal_seconds, cost.network_seconds, cost.postprocess_seconds) for cost in rows]
    for step, (name, colour) in enumerate(_STEPS):
        marks = [(1000 * own, row) for row, part in enumerate(parts) if (own := part[step])]
        axes.scatter([x for x, _ in marks], [y for _, y in marks], color=colour, label=name, zorder=3, s=28)
    for row, total in enumerate(totals):
        axes.annotate(f"{total:,.0f}", (total, row), xytext=(7, 0), textcoords="offset points", va="center")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    least = min(1000 * seconds for part in parts for seconds in part if seconds)
    axes.set(
        xlabel="time for a test image, milliseconds (log)", xlim=(least / 2, 12 * max(totals))
    )  # room for the sums
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, handletextpad=0.4)
