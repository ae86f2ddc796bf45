"""Writes the comparison as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from detector.common.tables import markdown_table
from detector.compare.family.measure import Cost

# Girshick 2015, table 4 of "Fast R-CNN" (VGG-16 on VOC 2007, one K40 GPU): hours of training, and seconds for a test
# image without proposals.
PAPER_RCNN, PAPER_FAST = (84.0, 47.0), (9.5, 0.32)


@dataclass(frozen=True)
class Setting:
    """The setting that all members share. train_images, test_images: the numbers used and those of the whole dataset;
    full_epochs: the epochs of params.yaml."""

    train_images: tuple[int, int]
    test_images: tuple[int, int]
    full_epochs: int
    backbone: str
    machine: str


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


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


def markdown(costs: Mapping[str, Cost], setting: Setting) -> str:
    """Return the page: the table, the full cost, the number of windows, and the ratios beside the paper's."""
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
            *map(_number, (cost.map_50, cost.map_70, cost.map_90, cost.localisation_accuracy)),
        )
        for cost in costs.values()
    ]
    table = markdown_table([*head, "mAP@.5", "mAP@.7", "mAP@.9", "localisation"], rows)
    parts = [intro, table, _extrapolated(costs, setting), _windows(costs), _ratios(costs, setting)]
    return "\n\n".join(part for part in parts if part) + "\n"


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
