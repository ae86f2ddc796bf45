"""Measure how the time and memory of Selective Search grow with an image's pixels and with its regions.

    python -m benchmarks.proposals.growth

Dots on plain ground and noise are the worst images that we know, one colour is the easiest, and a generated scene
stands for photographs. Each image is searched by a process of its own, in one thread. This needs Linux, whose kernel
says how much memory a process has used at most.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from PIL import Image

from benchmarks.proposals.tools import Pixels
from detector.common.progress import progress
from detector.data.generated import draw_scene
from detector.proposals import Mode, selective_search
from detector.stages.metrics_file import write_json

# Width and height: a photograph's shape in steps of about four times the pixels, and strips.
PHOTOGRAPHS = (
    (1, 1), (2, 2), (4, 3), (8, 6), (16, 12), (32, 24), (64, 48), (125, 94), (250, 188), (500, 375), (1000, 750),
    (2000, 1500), (4000, 3000), (8000, 6000),
)  # fmt: skip
STRIPS = ((20000, 20), (20000, 2000))
# The side of a square of noise in pixels. All these images have one size, and go from many regions to few.
BLOCKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128)
SQUARES, SQUARES_SIZE = "noise in squares", (500, 375)
_SEED = 7
# An image is searched until both are reached. The fastest counts: the work is the same each time, and all else that
# the machine does can only add to it.
_LEAST_RUNS, _LEAST_SECONDS = 5, 0.2
_CLEAR_REFS = Path("/proc/self/clear_refs")


def noise(width: int, height: int, block: int = 1) -> Pixels:
    """Return uint8 (H, W, 3), in which every square of `block` pixels has a colour of its own."""
    rng = np.random.default_rng(_SEED)
    blocks = rng.integers(0, 256, (-(-height // block), -(-width // block), 3), np.uint8)
    return np.ascontiguousarray(blocks.repeat(block, 0).repeat(block, 1)[:height, :width])


def one_colour(width: int, height: int) -> Pixels:
    """Return uint8 (H, W, 3) of one grey."""
    return np.full((height, width, 3), 128, np.uint8)


def scenes(width: int, height: int) -> Pixels:
    """Return uint8 (H, W, 3): generated scenes side by side, as many as fit the shape, scaled to the size."""
    long, short = max(width, height), min(width, height)
    count = max(1, round(long / short))
    drawn = [Image.fromarray(draw_scene(_SEED, number).pixels) for number in range(min(count, 8))]
    tiles = []
    for number, length in enumerate(np.diff(np.arange(count + 1) * long // count).tolist()):
        size = (length, height) if width >= height else (width, length)
        tiles.append(np.asarray(drawn[number % len(drawn)].resize(size, Image.Resampling.BICUBIC)))
    return np.concatenate(tiles, axis=1 if width >= height else 0)


def dots(width: int, height: int) -> Pixels:
    """Return uint8 (H, W, 3): squares of random colours on plain ground. Every size has equally many squares."""
    pitch = max(6, round(math.sqrt(width * height) / 37))
    pixels = noise(width, height, pitch)
    gap = pitch // 3
    pixels[np.arange(height) % pitch < gap] = 128
    pixels[:, np.arange(width) % pitch < gap] = 128
    return pixels


class MadeImage(NamedTuple):
    """An image to search. `detail` distinguishes images of one kind and one size."""

    kind: str
    width: int
    height: int
    draw: Callable[[int, int], Pixels]
    detail: str = ""


DRAWN: dict[str, Callable[[int, int], Pixels]] = {
    "dots": dots,
    "noise": noise,
    "scenes": scenes,
    "one colour": one_colour,
}
KINDS = (*DRAWN, SQUARES)


def made_images() -> list[MadeImage]:
    """Return all images to measure: four kinds in all sizes, and noise of one size from many regions to few."""
    return [MadeImage(kind, *size, draw) for kind, draw in DRAWN.items() for size in PHOTOGRAPHS + STRIPS] + [
        MadeImage(SQUARES, *SQUARES_SIZE, partial(noise, block=block), f" of {block}") for block in BLOCKS
    ]


class Cost(NamedTuple):
    """What one search needed: the number of boxes, seconds, and the most bytes beside those of program and image."""

    boxes: int
    seconds: float
    peak_bytes: int


def _own_memory(line: str) -> int:
    """Return bytes from a line of /proc/self/status: VmRSS is in use now, VmHWM is the most since it was reset."""
    for row in Path("/proc/self/status").read_text().splitlines():
        if row.startswith(f"{line}:"):
            return int(row.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {line}")


def peak_memory(work: Callable[[], object]) -> int:
    """Return the most bytes of memory that this process uses during `work()`, above those in use before.

    The kernel counts all pages, whether NumPy, Numba or a C library asked for them; tracemalloc would see only
    what goes through Python's allocators. Memory that was freed before and is still with the process is not
    counted again, so measure in a process that has done little else.
    """
    _CLEAR_REFS.write_text("5")  # proc(5): resets the peak to what is in use now
    before = _own_memory("VmRSS")
    work()
    return _own_memory("VmHWM") - before


def measure(image: Path, mode: Mode) -> Cost:
    """Return the cost of an image, which is uint8 (H, W, 3) in a NumPy file; call this in a fresh process."""
    selective_search(noise(40, 30), mode=mode)  # compiles, or loads what was compiled
    pixels = np.load(image)
    peak = peak_memory(lambda: selective_search(pixels, None, mode))
    seconds: list[float] = []
    while len(seconds) < _LEAST_RUNS or sum(seconds) < _LEAST_SECONDS:
        start = time.perf_counter()
        boxes = selective_search(pixels, None, mode)
        seconds.append(time.perf_counter() - start)
    return Cost(len(boxes), min(seconds), peak)


def measure_all(wanted: Sequence[MadeImage], mode: Mode) -> list[Cost]:
    """Return the cost of each image, each measured in a fresh process."""
    costs: list[Cost] = []
    # Spawned, not forked: a child begins without this process's memory.
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool,
    ):
        path = Path(folder) / "image.npy"
        for image in progress(wanted, len(wanted), "growth", "image"):
            np.save(path, image.draw(image.width, image.height))
            costs.append(pool.submit(measure, path, mode).result())
    return costs


def table(wanted: Sequence[MadeImage], costs: Sequence[Cost]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = ["| image | size | megapixels | boxes | ms | peak MiB |", "| --- | --- | --- | --- | --- | --- |"]
    for image, cost in zip(wanted, costs, strict=True):
        cells = (
            image.kind + image.detail,
            f"{image.width:,}x{image.height:,}",
            f"{image.width * image.height / 1e6:.3g}",
            f"{cost.boxes:,}",
            f"{1000 * cost.seconds:.3g}",
            f"{cost.peak_bytes / 2**20:.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


@click.command()
@click.option("--mode", type=click.Choice(["fast", "quality"]), default="fast", show_default=True)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only this kind; may be repeated.")
@click.option("--largest", type=float, default=math.inf, help="Leave out images of more megapixels than this.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks"), show_default=True)
def main(mode: Mode, kinds: tuple[str, ...], largest: float, out: Path) -> None:
    """Measure how Selective Search grows with pixels and regions.

    Prints a table; the figures and a chart go to the folder --out.
    """
    if not os.access(_CLEAR_REFS, os.W_OK):
        raise click.ClickException(f"{_CLEAR_REFS} cannot be written: peak memory can be measured on Linux only")
    wanted = [
        image
        for image in made_images()
        if image.kind in (kinds or KINDS) and image.width * image.height <= 1e6 * largest
    ]
    if not wanted:
        raise click.UsageError("no image is of these kinds and so small: choose others with --kind and --largest")
    costs = measure_all(wanted, mode)
    print("\n".join(table(wanted, costs)))
    document = [
        {"image": image.kind + image.detail, "width": image.width, "height": image.height, **cost._asdict()}
        for image, cost in zip(wanted, costs, strict=True)
    ]
    write_json(out / "proposals_growth.json", document)
    from benchmarks.proposals.growth_chart import draw  # takes a second to import

    draw(wanted, costs, f"Selective Search, {mode} mode", out / "proposals_growth.png")
    print(f"{out / 'proposals_growth.png'}, {out / 'proposals_growth.json'}")


if __name__ == "__main__":
    main()
