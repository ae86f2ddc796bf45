"""The comparison for people: Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from detector.compare.family.measure import Cost

# Girshick 2015, table 4 of "Fast R-CNN" (VGG-16 on VOC 2007, one K40 GPU): hours of training, seconds an image at test
# without proposals.
PAPER_RCNN, PAPER_FAST = (84.0, 47.0), (9.5, 0.32)


@dataclass(frozen=True)
class Setting:
    """What all members shared: images trained and tested on, here and in the whole dataset; epochs of params.yaml."""

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
    """94 s, 12.3 min, 5.1 h or 2.5 days."""
    for unit, length, least in (("days", 86_400, 2 * 86_400), ("h", 3600, 2 * 3600), ("min", 60, 120)):
        if seconds >= least:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def full_training_seconds(cost: Cost, setting: Setting) -> float:
    """Extrapolated: as many epochs as params.yaml says, over all training images, and the fitting on all of them."""
    share = setting.train_images[1] / setting.train_images[0]
    return share * (cost.training_seconds * setting.full_epochs / cost.epochs + cost.fitting_seconds)


def markdown(costs: Mapping[str, Cost], setting: Setting) -> str:
    """The table, the full cost, windows, and the paper's ratios beside these."""
    lines = [
        f"{setting.train_images[0]} of {setting.train_images[1]} training images, {setting.test_images[0]} of "
        f"{setting.test_images[1]} test images; backbone {setting.backbone}; {setting.machine}. AP: VOC 2007, "
        "11-point.",
        "",
        "| member | epochs | training | disk, MB | proposals, ms | network, ms | post-processing, ms | mAP@.5 | mAP@.7 "
        "| mAP@.9 | localisation |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for cost in costs.values():
        steps = (cost.proposal_seconds, cost.network_seconds, cost.postprocess_seconds)
        aps = (cost.map_50, cost.map_70, cost.map_90, cost.localisation_accuracy)
        cells = [
            cost.title,
            str(cost.epochs),
            duration(cost.training_seconds + cost.fitting_seconds),
            f"{cost.disk_bytes / 1e6:,.0f}",
            *map(_milliseconds, steps),
            *map(_number, aps),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *_extrapolated(costs, setting), *_windows(costs), *_ratios(costs, setting)]
    return "\n".join(lines).rstrip() + "\n"


def _extrapolated(costs: Mapping[str, Cost], setting: Setting) -> list[str]:
    if setting.train_images[0] == setting.train_images[1] and all(
        c.epochs == setting.full_epochs for c in costs.values()
    ):
        return []
    whole = ", ".join(f"{cost.title} {duration(full_training_seconds(cost, setting))}" for cost in costs.values())
    return [
        f"Extrapolated, not measured: training on all {setting.train_images[1]} images for {setting.full_epochs} "
        f"epochs would take {whole}.",
        "",
    ]


def _windows(costs: Mapping[str, Cost]) -> list[str]:
    cost = costs.get("sliding_window")
    if cost is None or cost.windows is None or cost.windows_possible is None:
        return []
    return [
        f"Windows looked at an image: {cost.windows:,.0f}, of {cost.windows_possible:,.0f} that there are "
        "(`count_windows`, mean).",
        "",
    ]


def _ratios(costs: Mapping[str, Cost], setting: Setting) -> list[str]:
    slow, fast = costs.get("rcnn_svm", costs.get("rcnn")), costs.get("fast_rcnn")
    if slow is None or fast is None:
        return []
    training = full_training_seconds(slow, setting) / full_training_seconds(fast, setting)
    return [
        "| ratio of R-CNN to Fast R-CNN | here | paper |",
        "| --- | --- | --- |",
        f"| training ({slow.title}), all images and epochs | {training:.1f} "
        f"| {PAPER_RCNN[0] / PAPER_FAST[0]:.1f} (84 h to 9.5 h) |",
        f"| network at test, an image | {slow.network_seconds / fast.network_seconds:.0f} "
        f"| {PAPER_RCNN[1] / PAPER_FAST[1]:.0f} (47 s to 0.32 s, proposals apart) |",
        "",
        "The paper's figures: Girshick 2015 (Fast R-CNN), table 4: VGG-16, VOC 2007, a K40 GPU.",
    ]
