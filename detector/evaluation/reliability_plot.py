"""Draws the reliability diagram, which is precision over score."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

from detector.common.plotting import STYLE
from detector.evaluation.calibration import Bin


def draw_reliability(curves: Mapping[str, Sequence[Bin]]) -> Image.Image:
    """Return the diagram with one line for each curve; on the diagonal, precision equals the score."""
    with matplotlib.rc_context(STYLE | {"font.size": 9}):
        figure = Figure(figsize=(4.6, 4.4), dpi=160, layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--", label="calibrated")
        for name, rows in curves.items():
            scores, precisions = [row.score for row in rows], [row.precision for row in rows]
            axes.plot(scores, precisions, linewidth=1.5, marker="o", markersize=4, label=name)
        axes.set(
            xlabel="score",
            ylabel="share of detections that are right (IoU .5)",
            xlim=(0, 1),
            ylim=(0, 1),
            aspect="equal",
        )
        axes.grid(color="#dddddd", linewidth=0.5)
        axes.legend(frameon=False, loc="upper left")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return Image.open(buffer)
