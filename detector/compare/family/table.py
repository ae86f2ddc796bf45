"""Writes the comparison as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from detector.common.tables import markdown_table
from detector.compare.family.measure import Cost
from detector.evaluation.bootstrap import CONFIDENCE, interval

# Girshick 2015, table 4 of "Fast R-CNN" (VGG-16 on VOC 2007, one K40 GPU): hours of training, and seconds for a test
# image without proposals.
PAPER_RCNN, PAPER_FAST = (84.0, 47.0), (9.5, 0.32)
# By member, its mAP@.5 in paired draws of the test images: detector.evaluation.bootstrap.
Draws = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Setting:
    """The setting that all members share. train_images, test_images: the numbers used and those of the whole dataset;
    full_epochs: the epochs of params.yaml."""

    train_images: tuple[int, int]
    test_images: tuple[int, int]
    full_epochs: int
    backbone: str
    machine: str


def _number(value: float | None, form: str = "") -> str:
    return "-" if value is None or math.isnan(value) else f"{value:{form}.3f}"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{1000 * value:,.1f}"


def duration(seconds: float) -> str:
    """Return a duration such as 94 s, 12.3 min, 5.1 h or 2.5 days."""
    for unit, length, least in (("days", 86_400, 2 * 86_400), ("h", 3600, 2 * 3600), ("min", 60, 120)):
        if seconds >= least:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def full_training_seconds(cost: Cost, setting: Setting) -> float:
    """Return the extrapolated time of all epochs of params.yaml and the fitting, each on all training images."""
    share = setting.train_images[1] / setting.train_images[0]
    return share * (cost.training_seconds * setting.full_epochs / cost.epochs + cost.fitting_seconds)


def markdown(costs: Mapping[str, Cost], setting: Setting, draws: Draws) -> str:
    """Return the page: the table, what each member gains, the full cost, the number of windows, and the ratios beside
    the paper's."""
    intro = (
        f"{setting.train_images[0]} of {setting.train_images[1]} training images, {setting.test_images[0]} of "
        f"{setting.test_images[1]} test images; backbone {setting.backbone}; {setting.machine}. AP: VOC 2007, 11-point."
    )
    head = ["member", "epochs", "training", "disk, MB", "proposals, ms", "network, ms", "post-processing, ms"]
    rows = [
        (
            cost.title,
            str(cost.epochs),
            duration(cost.training_seconds + cost.fitting_seconds),
            f"{cost.disk_bytes / 1e6:,.0f}",
            *map(_milliseconds, (cost.proposal_seconds, cost.network_seconds, cost.postprocess_seconds)),
            _number(cost.map_50),
            _bounds(draws[name], cost.map_50),
            *map(_number, (cost.map_70, cost.map_90, cost.localisation_accuracy)),
        )
        for name, cost in costs.items()
    ]
    table = markdown_table([*head, "mAP@.5", f"{CONFIDENCE:.0%}", "mAP@.7", "mAP@.9", "localisation"], rows)
    parts = [
        intro,
        table,
        _gains(costs, draws),
        _extrapolated(costs, setting),
        _windows(costs),
        _ratios(costs, setting),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _bounds(draws: NDArray[np.float64], estimate: float | None, form: str = "") -> str:
    low, high = interval(draws, math.nan if estimate is None else estimate)
    return "-" if math.isnan(low) else f"{low:{form}.3f} to {high:{form}.3f}"


def _gains(costs: Mapping[str, Cost], draws: Draws) -> str:
    """Return what each member gains over the one before it, with the interval of the paired differences."""
    rows: list[tuple[str, str, str]] = []
    for earlier, later in pairwise(costs):
        before, after = costs[earlier].map_50, costs[later].map_50
        gain = None if before is None or after is None else after - before
        bounds = _bounds(draws[later] - draws[earlier], gain, "+")
        rows.append((f"{costs[later].title} after {costs[earlier].title}", _number(gain, "+"), bounds))
    if not rows:
        return ""
    note = (
        "The intervals say how far a figure could be off because the test images are few; other seeds are not in them."
    )
    return markdown_table(["gain", "mAP@.5", f"{CONFIDENCE:.0%}"], rows) + f"\n\n{note}"


def _extrapolated(costs: Mapping[str, Cost], setting: Setting) -> str:
    everything = setting.train_images[0] == setting.train_images[1]
    if everything and all(cost.epochs == setting.full_epochs for cost in costs.values()):
        return ""
    whole = ", ".join(f"{cost.title} {duration(full_training_seconds(cost, setting))}" for cost in costs.values())
    return (
        f"Extrapolated, not measured: training on all {setting.train_images[1]} images for {setting.full_epochs} "
        f"epochs would take {whole}."
    )


def _windows(costs: Mapping[str, Cost]) -> str:
    cost = costs.get("sliding_window")
    if cost is None or cost.windows is None or cost.windows_possible is None:
        return ""
    return (
        f"The sliding window looks at {cost.windows:,.0f} of the {cost.windows_possible:,.0f} windows of an image "
        "(`count_windows`; means over the images)."
    )


def _ratios(costs: Mapping[str, Cost], setting: Setting) -> str:
    slow, fast = costs.get("rcnn_svm", costs.get("rcnn")), costs.get("fast_rcnn")
    if slow is None or fast is None:
        return ""
    training = full_training_seconds(slow, setting) / full_training_seconds(fast, setting)
    network = slow.network_seconds / fast.network_seconds
    rows = [
        (
            f"training ({slow.title}), all images and epochs",
            f"{training:.1f}",
            f"{PAPER_RCNN[0] / PAPER_FAST[0]:.1f} (84 h to 9.5 h)",
        ),
        (
            "network at test, per image",
            f"{network:.0f}",
            f"{PAPER_RCNN[1] / PAPER_FAST[1]:.0f} (47 s to 0.32 s, without proposals)",
        ),
    ]
    source = "The paper's figures are from Girshick 2015 (Fast R-CNN), table 4: VGG-16, VOC 2007, a K40 GPU."
    return markdown_table(["ratio of R-CNN to Fast R-CNN", "here", "paper"], rows) + f"\n\n{source}"
