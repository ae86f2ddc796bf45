"""Draw the chart of `benchmarks.proposals.growth`: time and memory over pixels, and time over boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.proposals.chart import DPI, STYLE, WIDTH
from benchmarks.proposals.growth import PHOTOGRAPHS, SQUARES, SQUARES_SIZE, STRIPS, Cost, MadeImage

_COLOURS = {"dots": "#E69F00", "noise": "#D55E00", "scenes": "#0072B2", "one colour": "#777777", SQUARES: "#009E73"}


def draw(made: Sequence[MadeImage], costs: Sequence[Cost], title: str, path: Path) -> None:
    """Write a PNG. The costs are in the order of the images."""
    points = list(zip(made, costs, strict=True))
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.6), dpi=DPI, layout="constrained")
        time, memory, boxes = figure.subplots(1, 3)
        for kind, colour in _COLOURS.items():
            of_kind = [(image, cost) for image, cost in points if image.kind == kind]
            alike = [cost for image, cost in of_kind if (image.width, image.height) == SQUARES_SIZE]
            boxes.plot([c.boxes for c in alike], [1000 * c.seconds for c in alike], "o", color=colour)
            if kind == SQUARES:
                continue
            for sizes, marks in ((PHOTOGRAPHS, "o-"), (STRIPS, "s")):
                some = [(p.width * p.height, c) for p, c in of_kind if (p.width, p.height) in sizes]
                pixels = [count for count, _ in some]
                time.plot(pixels, [1000 * cost.seconds for _, cost in some], marks, color=colour)
                memory.plot(pixels, [cost.peak_bytes / 2**20 for _, cost in some], marks, color=colour)
        time.set(title="Time", xlabel="pixels", ylabel="ms", xscale="log", yscale="log")
        memory.set(title="Peak memory", xlabel="pixels", ylabel="MiB", xscale="log")
        memory.set_yscale("log", nonpositive="mask")  # the smallest images may need no new page of memory
        boxes.set(title=f"Time at {SQUARES_SIZE[0]}x{SQUARES_SIZE[1]}", xlabel="boxes", ylabel="ms")
        boxes.set(xlim=(0, None), ylim=(0, None))
        for axis in (time.xaxis, time.yaxis, memory.xaxis, memory.yaxis):
            axis.set_major_locator(LogLocator(numticks=6))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(_short))
        boxes.xaxis.set_major_formatter(FuncFormatter(_short))
        handles = [Line2D([], [], color=colour, marker="o", linestyle="") for colour in _COLOURS.values()]
        handles.append(Line2D([], [], color="#333333", marker="s", linestyle=""))
        labels = [*_COLOURS, f"strips, {STRIPS[0][0]:,} wide"]
        figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, columnspacing=1.4)
        figure.suptitle(title)
        figure.savefig(path)


def _short(value: float, _: int | None) -> str:
    """1,000,000 -> "1M", 1,000 -> "1k"."""
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"
