"""Measure `boxcar report` over a synthetic run: the page's size, what making it needs, and how fast it opens.

    python -m benchmarks.report

A run has everything, but its records are random: a plan of JPEG files, parts with random boxes, their statistics, the
artifact, and a verdict with two broken rules of 20 examples each. The images are generated scenes at twice their size.
Each report is a fresh process that reads a folder; each load is a new browser context with an empty cache.
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image

from benchmarks.synthetic import write_parts
from detector.data.generated import draw_scene
from detector.runtime.shipped import SHIPPED
from jobs.formats import BoxRecord, Plan, PlannedImage, Record, RuleResult, Validation
from jobs.model import open_model
from jobs.plan import make_plan, plan_options
from jobs.publish import VALIDATION
from jobs.storage import open_store

# The number of different images; all other files are links to them.
SCENES = 200
EXAMPLES = 20
TIMES = """() => {
    const times = performance.getEntriesByType("navigation")[0];
    return [times.domContentLoadedEventEnd, times.loadEventEnd];
}"""
# The time from the slider's move to the second frame after it, which shows the move.
FILTER = """() => new Promise((done) => {
    const start = performance.now();
    const slider = document.querySelector("[data-filter=score]");
    slider.value = 0.7;
    slider.dispatchEvent(new Event("input", {bubbles: true}));
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
})"""


def write_photos(folder: Path, images: int) -> list[tuple[str, int, int]]:
    """Write files into `folder`; returns the ETag, width and height of each in their order."""
    folder.mkdir()
    scenes: list[tuple[Path, tuple[str, int, int]]] = []
    for index in range(min(SCENES, images)):
        scene = Image.fromarray(draw_scene(1, index).pixels)
        image = scene.resize((2 * scene.width, 2 * scene.height), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        path = folder / f"{index:06d}.jpg"
        path.write_bytes(buffer.getvalue())
        etag = hashlib.md5(buffer.getvalue(), usedforsecurity=False).hexdigest()
        scenes.append((path, (etag, image.width, image.height)))
    for index in range(len(scenes), images):
        os.link(scenes[index % len(scenes)][0], folder / f"{index:06d}.jpg")
    return [scenes[index % len(scenes)][1] for index in range(images)]


def make_run(folder: Path, images: int, boxes: int) -> None:
    """Make a complete run in folder/run over folder/photos, which has a verdict and is not published."""
    known = write_photos(folder / "photos", images)
    output, model = open_store(str(folder / "run")), open_model(SHIPPED)
    source = open_store(str(folder / "photos"))
    plan = make_plan(source, output, model, plan_options(source, model, part_size=500), print)
    random = np.random.default_rng(0)
    classes = model.artifact.classes
    parts = write_parts(
        output, plan, lambda image: _record(plan, image, known[int(image.key[:6])], boxes, classes, random)
    )
    made = [record for records in parts for record in records]
    rules = [_rule(number, made[number :: max(1, images // EXAMPLES)][:EXAMPLES]) for number in range(2)]
    verdict = Validation(run=plan.run, status="rejected", max_failed=0.1, rules=rules)
    output.write(VALIDATION, verdict.pretty())


def _record(
    plan: Plan,
    image: PlannedImage,
    known: tuple[str, int, int],
    count: int,
    classes: tuple[str, ...],
    random: np.random.Generator,
) -> Record:
    etag, width, height = known
    least = round(10_000 * plan.min_score)
    scores = np.sort(random.integers(least, 10_001, count))[::-1] / 10_000
    boxes = [
        BoxRecord(
            label=classes[random.integers(len(classes))],
            score=score,
            x=random.integers(0, 8 * width) / 16,
            y=random.integers(0, 8 * height) / 16,
            width=random.integers(160, 8 * width) / 16,
            height=random.integers(160, 8 * height) / 16,
        )
        for score in scores.tolist()
    ]
    return Record(
        run=plan.run, image=plan.input + image.key, etag=etag, version_id=None, bytes=image.size, width=width,
        height=height, status="ok", error=None, boxes=boxes,
    )  # fmt: skip


def _rule(number: int, records: list[Record]) -> RuleResult:
    return RuleResult(
        rule=f"rule_{number}", sentence="An invented rule.", severity="reject", verdict="rejected", checked=1, broken=1,
        observed="1 of 1", examples=[record.image for record in records],
    )  # fmt: skip


def report(output: Path) -> tuple[float, float]:
    """Return the seconds and peak MiB of one report in a process of its own.

    A child's peak is never below that of this process, which must therefore stay small.
    """
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "jobs", "report", str(output)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"boxcar report ended with {process.returncode}")
    return time.monotonic() - started, usage.ru_maxrss / 2**10


def load(page: Path, chromium: str, rounds: int) -> list[tuple[float, float, float]]:
    """Return for each load the milliseconds to DOMContentLoaded, to load, and from a slider's move to the screen."""
    from playwright.sync_api import sync_playwright

    times = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium)
        for _ in range(rounds):
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            tab = context.new_page()
            tab.goto(page.as_uri(), wait_until="load")
            tab.wait_for_function("performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
            parsed, loaded = tab.evaluate(TIMES)
            times.append((parsed, loaded, tab.evaluate(FILTER)))
            context.close()
        browser.close()
    return times


@click.command()
@click.option("--images", type=int, default=10_000, show_default=True)
@click.option(
    "--boxes", "counts", multiple=True, type=int, default=(3, 30), show_default=True, help="Boxes in each image."
)
@click.option("--rounds", type=int, default=5, show_default=True, help="Medians are shown.")
@click.option(
    "--chromium",
    default=shutil.which("chromium"),
    show_default=True,
    help="The browser that loads the page; empty: do not load it.",
)
def main(images: int, counts: tuple[int, ...], rounds: int, chromium: str | None) -> None:
    """Report on synthetic runs and print a Markdown table."""
    print("| images | boxes per image | page | images in it | made in | peak memory | parsed | loaded | filtered |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for boxes in counts:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            maker = multiprocessing.Process(target=make_run, args=(folder, images, boxes))
            maker.start()
            maker.join()
            made = [report(folder / "run") for _ in range(rounds)]
            seconds, peak = (statistics.median(values) for values in zip(*made, strict=True))
            page = folder / "run/report.html"
            size, shown = page.stat().st_size / 1e6, page.read_bytes().count(b"<figure id=")
            cells = [f"{images:,}", f"{boxes}", f"{size:.2f} MB", f"{shown}", f"{seconds:.1f} s", f"{peak:.0f} MiB"]
            if chromium:
                loads = load(page, chromium, rounds)
                cells += [f"{statistics.median(values):.0f} ms" for values in zip(*loads, strict=True)]
            else:
                cells += ["–"] * 3
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
