"""Draw the family's average precision over the time for a test image, and over the minutes of training.

    python -m benchmarks.story --peer PEER

The members' figures are those of the last `detector compare family`: their time is wall time, the sum of the medians of
the steps. Peers are detectors that others trained on COCO. They are measured here on the same test images, and have no
training minutes; their time is CPU time of one thread, from decoded pixels to boxes. The two kinds of time are equal
only where nothing else runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.models import IOUS, Measured, measure, open_artifact
from detector.common.plotting import STYLE
from detector.common.tables import markdown_table
from detector.data.annotations import CocoDataset, load_coco
from detector.evaluation.bootstrap import draw_map, interval

_MEMBER, _PEER = "#0072B2", "#D55E00"


@dataclass(frozen=True)
class Point:
    """A detector in the pictures. bounds: the 95 % interval of its mAP@.5; minutes: of training, None for a peer."""

    title: str
    milliseconds: float
    minutes: float | None
    map_50: float
    bounds: tuple[float, float]


def members(found: Mapping[str, Any]) -> list[Point]:
    """Return the members that have figures in the content of table.json, with the whole time for a test image."""
    return [
        Point(
            title=one["title"],
            milliseconds=1000 * sum(one[f"{step}_seconds"] or 0 for step in ("proposal", "network", "postprocess")),
            minutes=(one["training_seconds"] + one["fitting_seconds"]) / 60,
            map_50=one["map_50"],
            bounds=tuple(one["map_50_interval"]),
        )
        for one in found["members"].values()
        if one["map_50"] is not None
    ]


def peers(opened: Iterable[Measured], truth: CocoDataset) -> list[Point]:
    """Return the points of artifacts that have looked at all test images."""
    return [
        Point(
            one.name,
            one.milliseconds,
            None,
            one.ap[IOUS[0]],
            interval(draw_map(truth, one.found, IOUS[0]), one.ap[IOUS[0]]),
        )
        for one in opened
    ]


def draw(points: Sequence[Point], path: Path) -> None:
    """Write a PNG of two panels: mAP@.5 over milliseconds, and over minutes. Numbers name the detectors."""
    with rc_context(STYLE | {"font.size": 9}):
        figure = Figure(figsize=(11, 4.4), dpi=130, layout="constrained")
        times, trainings = figure.subplots(1, 2, sharey=True, width_ratios=(1.4, 1))
        for number, point in enumerate(points, start=1):
            colour, face = (_PEER, "white") if point.minutes is None else (_MEMBER, _MEMBER)
            note = ", trained by others on COCO" if point.minutes is None else ""
            edge = colour if face == "white" else "white"
            look = {"color": colour, "markerfacecolor": face, "markeredgecolor": edge, "markersize": 12}
            times.plot([], [], "o", label=f"{number}  {point.title}{note}", **(look | {"markersize": 7}))
            for axes, x in ((times, point.milliseconds), (trainings, point.minutes)):
                if x is not None:
                    axes.plot((x, x), point.bounds, color=colour, linewidth=1, zorder=number)
                    axes.plot(x, point.map_50, "o", zorder=number, **look)
                    text = {"color": colour if face == "white" else "white", "fontsize": 8, "zorder": number}
                    axes.annotate(f"{number}", (x, point.map_50), ha="center", va="center_baseline", **text)
        times.set(xscale="log", xlabel="time for a test image, milliseconds (log)")
        times.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        times.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        times.xaxis.set_minor_formatter(NullFormatter())
        times.set(ylabel="mAP at IoU .5, 95 % interval", ylim=(0, 1.05 * max(point.bounds[1] for point in points)))
        trainings.set(xlabel="training, minutes", xlim=(0, None))
        for axes in (times, trainings):
            axes.grid(alpha=0.3)
        figure.legend(loc="outside right", frameon=False)  # type: ignore[call-overload]
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.option("--family", type=_FOLDER, default=Path("build/compare/family"), show_default=True)
@click.option("--peer", "peer_folders", type=_FOLDER, multiple=True, help="An artifact trained on COCO. Repeatable.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks/story.png"), show_default=True)
def main(family: Path, peer_folders: tuple[Path, ...], out: Path) -> None:
    """Draw the family beside other detectors."""
    table = family / "table.json"
    if not table.is_file():
        raise click.ClickException(f"{table} is missing: run `detector compare family` first")
    found = json.loads(table.read_text("utf-8"))
    points = members(found)
    if not points:
        raise click.ClickException(
            f"{table}: no member has an average precision, because the test images have no truths"
        )
    if peer_folders:
        dataset = family / found["part"] / "dataset"
        truth = load_coco(dataset / "test.json")
        opened = [open_artifact(folder, True, truth) for folder in peer_folders]
        measure(opened, dataset / "images", truth)
        points += peers(opened, truth)
    rows = [
        [
            point.title,
            f"{point.milliseconds:,.1f}",
            "–" if point.minutes is None else f"{point.minutes:.1f}",
            f"{point.map_50:.3f} ({point.bounds[0]:.3f} to {point.bounds[1]:.3f})",
        ]
        for point in points
    ]
    print(markdown_table(["detector", "ms an image", "training, minutes", "mAP@.5 (95 %)"], rows))
    draw(points, out)
    print(f"\n{out}")


if __name__ == "__main__":
    main()
