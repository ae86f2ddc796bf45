"""Draws three plots as in Canziani, Paszke and Culurciello, *An Analysis of Deep Neural Network Models for Practical
Applications*, 2016 (arXiv 1605.07678)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from detector.common.drawing import PALETTE
from detector.common.plotting import STYLE
from detector.compare.backbones.lecture import LECTURE
from detector.compare.backbones.rows import Row

TOP1, OPERATIONS, DENSITY = "top1.png", "top1_by_operations.png", "top1_per_parameter.png"

_ORANGE, _, _GREEN, _, _BLUE, _RED, _PINK, _ = PALETTE
_COLOURS = {"AlexNet": _ORANGE, "VGGNet": _BLUE, "Inception": _GREEN, "ResNet": _RED, "EfficientNet": _PINK}
_STYLE: dict[Any, Any] = STYLE | {
    "font.size": 11.5,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
}
_WIDTH, _HEIGHT, _DPI = 9.0, 5.4, 130
# The area of a circle in square points for each million of parameters; VGG-19's is 91 points wide.
_AREA = 45.0
# The lowest value of the top-1 axes, as in the paper; no network of the table is below it.
_LOWEST = 50
_LEGEND = {10: 0.62, 50: 0.73, 150: 0.88}  # millions of parameters: place of the circle, as a part of the panel's width


def draw(rows: Sequence[Row], folder: Path) -> None:
    """Write the three PNGs."""
    with rc_context(_STYLE):
        for name, panel in ((TOP1, _by_network), (OPERATIONS, _by_operations), (DENSITY, _per_parameter)):
            figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI, layout="constrained")
            FigureCanvasAgg(figure)
            panel(figure.subplots(), rows)
            figure.savefig(folder / name)


def _by_network(axes: Axes, rows: Sequence[Row]) -> None:
    _bars(axes, rows, [row.published.top1 for row in rows])
    for index, row in enumerate(rows):  # at the foot of the bar, away from the lecture's line
        axes.annotate(
            f"{row.published.top1:.1f}", (index, _LOWEST), (0, 5), textcoords="offset points", ha="center",
            color="white", weight="bold",
        )  # fmt: skip
    said = {row.family: float(row.top1) for row in LECTURE}
    label = "the lecture's figure for the family"
    for index, row in enumerate(rows):
        if row.family in said:
            axes.hlines(said[row.family], index - 0.46, index + 0.46, "black", linewidth=1.6, label=label)
            label = "_"  # the legend gets one entry
    axes.set(title="Top-1 by network", ylabel=f"top-1 on ImageNet, % (from {_LOWEST})", ylim=(_LOWEST, 86))
    axes.legend(loc="upper left", frameon=False)


def _per_parameter(axes: Axes, rows: Sequence[Row]) -> None:
    _bars(axes, rows, [row.density for row in rows])
    for index, row in enumerate(rows):
        axes.annotate(f"{row.density:.1f}", (index, row.density), (0, 3), textcoords="offset points", ha="center")
    axes.set(title="Accuracy per parameter", ylabel="top-1, % for each million of parameters")


def _bars(axes: Axes, rows: Sequence[Row], heights: Sequence[float]) -> None:
    axes.bar(range(len(rows)), heights, color=[_COLOURS[row.family] for row in rows], width=0.72)
    axes.set_xticks(range(len(rows)), [row.title for row in rows], rotation=32, ha="right", rotation_mode="anchor")
    axes.grid(axis="x", visible=False)


def _by_operations(axes: Axes, rows: Sequence[Row]) -> None:
    points = [(row.count.operations / 1e9, row.published.top1) for row in rows]
    for row, (x, y) in sorted(zip(rows, points, strict=True), key=lambda pair: -pair[0].millions):
        axes.scatter(x, y, row.millions * _AREA, _COLOURS[row.family], alpha=0.55, edgecolors="white", linewidths=0.8)
        axes.plot(x, y, ".", color="#333333", markersize=4)
    axes.set(
        title="Top-1 against operations; area of a circle: parameters", ylim=(_LOWEST, 86),
        xlabel="operations of one forward pass, G-Ops (2 x multiply-adds)", ylabel="top-1 accuracy on ImageNet, %",
    )  # fmt: skip
    axes.set_xlim(-4, max(x for x, _ in points) + 7)
    _legend(axes)
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()  # from here on, positions are known
    figure.set_layout_engine("none")
    boxes = place_labels(
        [tuple(axes.transData.transform(point)) for point in points],
        [_text_size(axes, row.title) for row in rows],
    )
    for row, box in zip(rows, boxes, strict=True):
        axes.text(box.x0, box.y0, row.title, transform=None, ha="left", va="bottom", fontsize=10.5)


def _legend(axes: Axes) -> None:
    """Draw the legend, grey circles in the empty corner; their places are parts of the panel's size."""
    axes.text(0.55, 0.14, "parameters", transform=axes.transAxes, ha="right", va="center")
    for millions, x in _LEGEND.items():
        axes.scatter(x, 0.14, millions * _AREA, "#C8C8C8", transform=axes.transAxes)
        axes.text(x, 0.14, f"{millions} M", transform=axes.transAxes, ha="center", va="center")


def _text_size(axes: Axes, title: str) -> tuple[float, float]:
    """Return width and height of a text in pixels."""
    text = axes.text(0, 0, title, fontsize=10.5)
    box = text.get_window_extent()
    text.remove()
    return box.width, box.height


# Places of a label, best first: the side of its point in x and y, and the distance in pixels.
_SIDES = [
    (dx, dy, away)
    for away in (8, 22, 40)
    for dx, dy in ((1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))
]


def place_labels(points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]]) -> list[Bbox]:
    """Return boxes for labels of these sizes (width, height) beside these points, all in pixels.

    No label lies on another one or on a point. If every place is taken, the last one is used.
    """
    placed: list[Bbox] = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        for dx, dy, away in _SIDES:
            left = x + dx * away - width * (1 - dx) / 2
            low = y + dy * away - height * (1 - dy) / 2
            box = Bbox.from_bounds(left, low, width, height)
            near = Bbox.from_bounds(left - 3, low - 3, width + 6, height + 6)
            if not any(near.overlaps(other) for other in placed) and not any(near.contains(*p) for p in points):
                break
        placed.append(box)
    return placed
