"""Compares all members on one dataset: writes the table, for people and for programs, and the plot."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from detector.compare.family.measure import Cost, measure
from detector.compare.family.members import MEMBERS
from detector.compare.family.plot import draw
from detector.compare.family.subset import write_subset
from detector.compare.family.table import Setting, markdown
from detector.data.annotations import load_coco
from detector.evaluation.bootstrap import draw_map, interval
from detector.evaluation.detections import load_results
from detector.params import Params
from detector.stages.metrics_file import write_json

TABLE, FIGURES, PLOT = "table.md", "table.json", "family.png"


def run(
    params: Params,
    dataset: Path,
    out: Path,
    *,
    members: Sequence[str] = tuple(MEMBERS),
    train_images: int | None = None,
    test_images: int | None = None,
    epochs: int | None = None,
) -> str:
    """Train and evaluate `members` on images of `dataset`, write everything into `out`, and return the table.

    train_images, test_images: the numbers of images, None for all. epochs: the number to use instead of that in
    `params`. What was measured before in `out` with the same params and images is not measured again.
    """
    # Val is empty, so that it cannot choose an epoch: all members train to their end.
    counts = {"train": train_images, "val": 0, "test": test_images}
    part = out / f"{train_images or 'all'}-{test_images or 'all'}"
    sizes = write_subset(dataset, part / "dataset", counts, params.train.seed)
    costs: dict[str, Cost] = {}
    for name in members:
        member = MEMBERS[name]
        own = member.params(params, epochs or params.train.epochs)
        costs[name] = measure(member.title, own, part / "dataset", part / "proposals", part / name)
    setting = Setting(
        train_images=sizes["train"],
        test_images=sizes["test"],
        full_epochs=params.train.epochs,
        backbone=params.model.backbone,
        machine=f"{torch.get_num_threads()} threads of {platform.machine()}, torch {torch.__version__}",
    )
    test = load_coco(part / "dataset" / "test.json")
    found = {name: load_results(part / name / "evaluation" / "detections.json", test) for name in costs}
    draws = {name: draw_map(test, detections, 0.5) for name, detections in found.items()}
    page = markdown(costs, setting, draws)
    (out / TABLE).write_text(page, "utf-8")
    estimates = {name: math.nan if cost.map_50 is None else cost.map_50 for name, cost in costs.items()}
    bounds = {name: interval(draws[name], estimate) for name, estimate in estimates.items()}
    figures = {name: asdict(cost) | {"map_50_interval": bounds[name]} for name, cost in costs.items()}
    write_json(out / FIGURES, {"part": part.name, "setting": asdict(setting), "members": figures})
    draw(costs, bounds, out / PLOT)
    return page
