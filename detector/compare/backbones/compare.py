"""Counts and measures all networks; writes the table, for people and for programs, and the plots."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from detector.common.errors import WeightsError
from detector.compare.backbones import imagenet, memory, plots
from detector.compare.backbones.classifiers import CLASSIFIERS
from detector.compare.backbones.count import count
from detector.compare.backbones.lecture import LECTURE
from detector.compare.backbones.rows import Machine, Row
from detector.compare.backbones.table import differences, markdown
from detector.compare.backbones.timing import latencies
from detector.model.backbones import BACKBONES

TABLE, FIGURES = "table.md", "table.json"


def run(out: Path, images: Path | None, repeats: int, workers: int, names: Sequence[str] = tuple(CLASSIFIERS)) -> str:
    """Compare the networks `names`, write everything into `out`, and return the table.

    images: ImageNet's validation images, one folder for each class, to measure top-1, or None. Raises AnnotationError
    if the folders are others. If the weights of a network are not available, the table says so.
    """
    if images is not None:
        imagenet.check_layout(images)
    rows = _rows(names, images, repeats, workers)
    machine = Machine(_processor(), torch.get_num_threads(), torch.__version__, repeats)
    page = markdown(rows, machine)
    out.mkdir(parents=True, exist_ok=True)
    (out / TABLE).write_text(page, "utf-8")
    (out / FIGURES).write_text(json.dumps(_document(rows, machine), indent=2, default=float) + "\n", "utf-8")
    plots.draw(rows, out)
    return page


def _rows(names: Sequence[str], images: Path | None, repeats: int, workers: int) -> list[Row]:
    torch.manual_seed(0)
    counts = {name: count(CLASSIFIERS[name]) for name in names}
    peaks = {name: memory.peak_bytes(name) for name in names}
    networks = {
        name: (CLASSIFIERS[name].build(False).eval(), torch.randn(1, 3, CLASSIFIERS[name].size, CLASSIFIERS[name].size))
        for name in names
    }
    seconds = latencies(networks, repeats)
    rows = []
    for name in names:
        classifier, network = CLASSIFIERS[name], networks[name][0]
        top1, reason = None, None
        if images is not None:
            try:
                classifier.fill(network, BACKBONES[name].imagenet.state())
                top1 = imagenet.measure_top1(network, classifier.transform(), images, workers, classifier.title)
            except WeightsError as error:
                reason = str(error)
        rows.append(
            Row(
                name, classifier.title, classifier.family, classifier.year, classifier.size, counts[name],
                classifier.published, tuple(1e3 * s for s in seconds[name]), peaks[name], top1, reason,
            )
        )  # fmt: skip
    return rows


def _document(rows: Sequence[Row], machine: Machine) -> dict[str, Any]:
    return {
        "machine": asdict(machine),
        "networks": [
            {**asdict(row), "median_milliseconds": statistics.median(row.milliseconds), "top1_per_million": row.density}
            for row in rows
        ],
        "lecture": [asdict(row) for row in LECTURE],
        "differences": differences(rows),
    }


def _processor() -> str:
    """Return the processor's name, or its kind if the system does not give the name."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
