"""Times taken fairly and quality over the number of boxes, for `benchmarks.proposals`."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from benchmarks.proposals.tools import Pixels, Tool
from detector.data.annotations import CocoDataset
from detector.evaluation.proposal_recall import proposal_recall
from detector.runtime.geometry.boxes import Boxes

Item = TypeVar("Item")

# Numbers of boxes that the table reports; 2,000 is Girshick's for R-CNN (CVPR 2014).
BUDGETS = (1000, 2000)
IOUS = (0.5, 0.7)
# Points of a curve in each decade: about equal steps on a logarithmic axis.
_STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)


def evenly_spread(items: Sequence[Item], limit: int) -> tuple[Item, ...]:
    """Return at most `limit` of the items (1 or more), in their order and evenly spread over the list."""
    count = min(limit, len(items))
    return tuple(items[i * len(items) // count] for i in range(count))


@dataclass(frozen=True)
class Run:
    """The seconds and boxes of one tool by image id, in the order of the images."""

    seconds: dict[int, float] = field(default_factory=dict)
    boxes: dict[int, Boxes] = field(default_factory=dict)


def interleave(
    tools: Mapping[str, Tool],
    images: Iterable[tuple[int, Pixels]],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Run]:
    """Every tool on every image (id, uint8 RGB (H, W, 3)), image by image: what else the machine does meets all alike.

    The tools' order is drawn anew for each image, the same in every run, so that none always finds the caches as the
    same other one left them. Each tool first sees the first image once without a clock: compiling and loading are no
    part of an image's time.
    """
    runs = {name: Run() for name in tools}
    orders = np.random.default_rng(0)
    for number, (image_id, pixels) in enumerate(images):
        if number == 0:
            for tool in tools.values():
                tool.search(tool.prepare(pixels))
        for name in orders.permutation(list(tools)).tolist():
            tool = tools[name]
            taken = tool.prepare(pixels)
            start = clock()
            given = tool.search(taken)
            runs[name].seconds[image_id] = clock() - start
            runs[name].boxes[image_id] = tool.boxes(given)
    return runs


@dataclass(frozen=True)
class Speed:
    """The ratio of another tool's time to this tool's, image by image: the median, and what nine in ten exceed."""

    median: float
    tenth: float


def relative_speed(run: Run, other: Run) -> Speed:
    """Compare two runs over the same images."""
    ratios = [other.seconds[image_id] / seconds for image_id, seconds in run.seconds.items()]
    return Speed(statistics.median(ratios), float(np.percentile(ratios, 10)))


@dataclass(frozen=True)
class Curve:
    """Quality over the number of boxes. All lists run along `budgets`, which rise; the last one takes all boxes.

    boxes: the mean number that an image really has within the budget (Hosang et al., PAMI 2016, compare at these);
    mabo: mean average best overlap; recall: by IoU.
    """

    budgets: list[int]
    boxes: list[float]
    mabo: list[float]
    recall: dict[float, list[float]]

    def at(self, budget: int | None) -> tuple[float, float, float]:
        """MABO and the recalls at IOUS within a budget of BUDGETS, or with all boxes (None)."""
        i = -1 if budget is None else self.budgets.index(budget)
        return self.mabo[i], self.recall[IOUS[0]][i], self.recall[IOUS[1]][i]


def quality(truth: CocoDataset, boxes: Mapping[int, Boxes]) -> Curve:
    """boxes: by image id, float32 (N, 4) xyxy, best first. Ignored truths and crowds are left out."""
    counts = np.array([len(boxes[image.id]) for image in truth.images])
    most = int(counts.max())
    steps = (round(step * 10**decade) for decade in range(math.ceil(math.log10(max(most, 10)))) for step in _STEPS)
    # The largest budget of the table may lie above all that a tool gives: `all` is then the same.
    budgets = sorted({*BUDGETS, max(most, *BUDGETS), *(step for step in steps if step < most)})
    result = proposal_recall(truth, boxes, budgets, IOUS)
    return Curve(
        budgets=budgets,
        boxes=[float(np.minimum(counts, budget).mean()) for budget in budgets],
        mabo=[result.mabo[budget] for budget in budgets],
        recall={iou: [result.recall[budget][iou] for budget in budgets] for iou in IOUS},
    )


@dataclass(frozen=True)
class Row:
    """One tool's figures; a reference has no version, no run and no speed. counts: boxes of each image."""

    title: str
    counts: list[int]
    curve: Curve
    version: str | None = None
    run: Run | None = None
    speed: Speed | None = None

    @property
    def milliseconds(self) -> float | None:
        """The median of the images."""
        return None if self.run is None else 1000 * statistics.median(self.run.seconds.values())


def _share(value: float) -> str:
    """0.5 -> ".500", 1.0 -> "1.000"."""
    return f"{value:.3f}".removeprefix("0")


def table(rows: Sequence[Row], reference: str) -> list[str]:
    """Lines of Markdown; `reference`: the title of the tool that speeds are relative to."""
    budgets = " / ".join([*(f"{budget:,}" for budget in BUDGETS), "all"])
    lines = [
        f"| tool | ms an image | times as fast as {reference} (10th percentile) | boxes "
        f"| MABO {budgets} | recall@.5 | recall@.7 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        milliseconds = "–" if row.milliseconds is None else f"{row.milliseconds:.1f}"
        speed = "–" if row.speed is None else f"{row.speed.median:.2f} ({row.speed.tenth:.2f})"
        values = zip(*(row.curve.at(budget) for budget in (*BUDGETS, None)), strict=True)
        measures = " | ".join(" / ".join(map(_share, measure)) for measure in values)
        lines.append(f"| {row.title} | {milliseconds} | {speed} | {statistics.median(row.counts):,.0f} | {measures} |")
    return lines
