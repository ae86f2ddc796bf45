"""Measure `boxcar validate` over synthetic runs: seconds and peak memory, in batches and as one batch.

    python -m benchmarks.validation

A run has everything but its images: a plan, parts with five boxes in each record, their statistics and the artifact.
The records keep every rule. Each validation is a fresh process that reads a folder.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.synthetic import write_parts
from detector.runtime.shipped import SHIPPED
from jobs.formats import BoxRecord, Plan, PlannedImage, QualityRecord, Record
from jobs.model import open_model
from jobs.plan import make_plan, plan_options
from jobs.storage import Entry, open_store

BOXES = 5
# Photographs of 1,600 x 1,200 pixels with a column of boxes for each of the five.
WIDTH, HEIGHT, COLUMN = 1600, 1200, 320

AS_IT_IS = "from jobs.__main__ import boxcar; import sys; sys.argv[1:] = ['validate', {output!r}]; boxcar()"
ONE_BATCH = "from jobs.rules import review; review.BATCH_RECORDS = review.BATCH_BOXES = 10**12; " + AS_IT_IS


class Keys:
    """The listing of a bucket. Its images do not exist, and are never read."""

    uri = "s3://photos/"

    def __init__(self, count: int) -> None:
        self.count = count

    def list(self, *, hidden: bool = False) -> Iterator[Entry]:
        """Yield an entry for every key."""
        return (Entry(f"{n // 1000:06d}/{n:09d}.jpg", 91_234, f"{n:032x}") for n in range(self.count))


def make_run(folder: Path, images: int) -> None:
    """Make a complete run that is not published."""
    output, model = open_store(str(folder)), open_model(SHIPPED)
    source: Any = Keys(images)
    plan = make_plan(source, output, model, plan_options(source, model, part_size=500), print)
    random = np.random.default_rng(0)
    for _ in write_parts(output, plan, lambda image: _record(plan, image, model.artifact.classes, random)):
        pass


def _record(plan: Plan, image: PlannedImage, classes: tuple[str, ...], random: np.random.Generator) -> Record:
    least = round(10_000 * plan.min_score)
    scores = np.sort(random.integers(least, 10_001, BOXES))[::-1] / 10_000
    places = random.integers(0, 150 * 16, (BOXES, 2)) / 16
    sides = random.integers(16, 150 * 16, (BOXES, 2)) / 16
    labels = random.integers(0, len(classes), BOXES)
    boxes = [
        BoxRecord(
            label=classes[labels[i]], score=scores[i], x=COLUMN * i + places[i, 0], y=places[i, 1], width=sides[i, 0],
            height=sides[i, 1],
        )
        for i in range(BOXES)
    ]  # fmt: skip
    return Record(
        run=plan.run, image=Keys.uri + image.key, etag=image.etag, version_id=None, bytes=image.size, width=WIDTH,
        height=HEIGHT, status="ok", error=None, boxes=boxes, image_quality=_quality(random),
    )  # fmt: skip


def _quality(random: np.random.Generator) -> QualityRecord:
    sharpness, brightness, red_green, blue_yellow = (
        random.normal((2000, 110, 5, -10), (400, 20, 10, 10)).round(2).tolist()
    )
    return QualityRecord(
        sharpness=sharpness, brightness=brightness, clipped_dark=0.01, clipped_bright=0.01, contrast=50.0,
        red_green=red_green, blue_yellow=blue_yellow, aspect=1.3333, perceptual_hash=random.bytes(8).hex(),
    )  # fmt: skip


def validate(output: Path, code: str) -> tuple[float, float]:
    """Return the seconds and peak MiB of one validation in a process of its own.

    A child's peak is never below that of this process, which must therefore stay small.
    """
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", code.format(output=str(output))], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"boxcar validate ended with {process.returncode}")
    return time.monotonic() - started, usage.ru_maxrss / 2**10


@click.command()
@click.option("--images", "counts", multiple=True, type=int, default=(100_000, 1_000_000), show_default=True)
@click.option(
    "--rounds", type=int, default=3, show_default=True, help="Measurements of each way, in turns; medians are shown."
)
def main(counts: tuple[int, ...], rounds: int) -> None:
    """Validate synthetic runs and print a Markdown table."""
    print(f"| images, {BOXES} boxes each | judged | seconds | peak memory |")
    print("| ---: | --- | ---: | ---: |", flush=True)
    for count in counts:
        with tempfile.TemporaryDirectory() as scratch:
            output = Path(scratch) / "run"
            maker = multiprocessing.Process(target=make_run, args=(output, count))
            maker.start()
            maker.join()
            ways = {"in batches": AS_IT_IS, "as one batch": ONE_BATCH}
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, code in ways.items():
                    found[name].append(validate(output, code))
            for name, rows in found.items():
                seconds, peak = (statistics.median(column) for column in zip(*rows, strict=True))
                print(f"| {count:,} | {name} | {seconds:.0f} | {peak:,.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()
