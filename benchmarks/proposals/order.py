"""How well the first boxes of Selective Search cover the objects in each order, and a search for better weights.

    python -m benchmarks.proposals.order
    python -m benchmarks.proposals.order --search 120

The photographs are those of `detector fetch`. The search changes some weights at random, again and again, and keeps
what raises the sum of the mean best overlaps (MABO, here over objects) at 100 and 300 boxes on photographs of the train
split. Everything in the table is measured on val. Times are CPU milliseconds of the ordering alone.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.proposals.__main__ import decoded
from benchmarks.proposals.measure import evenly_spread
from detector.common.tables import markdown_table
from detector.data.annotations import CocoDataset, load_coco
from detector.proposals.ranking import FIRST, WEIGHTS, Weights, rank
from detector.proposals.selective_search import Candidates, candidates
from detector.runtime.geometry.boxes import iou
from detector.stages import layout

BUDGETS = (100, 300, 1000)
_AIMED_AT = BUDGETS[:2]
# A weight changes in a step of the search with this probability, by a factor that has this deviation.
_CHANGED, _DEVIATION = 0.4, 0.3


@dataclass(frozen=True)
class Photograph:
    """All boxes of one photograph, and their IoUs (N, G) with its objects."""

    candidates: Candidates
    overlaps: NDArray[np.float32]


def find(split: str, limit: int) -> list[Photograph]:
    """Return the candidates of each photograph of a split that shows an object that is not difficult.

    limit: the number of photographs to look at. Raises ClickException if none of them shows one.
    """
    whole = load_coco(layout.DATASET / f"{split}.json")
    truth = CocoDataset(whole.classes, evenly_spread(whole.images, limit), whole.category_ids)
    found = []
    for image, (_, pixels) in zip(truth.images, decoded(truth, layout.DATASET / "images"), strict=True):
        objects = image.boxes[~(image.ignore | image.crowd)]
        if not len(objects):
            continue
        every = candidates(pixels, "fast")
        scale = np.array([every.width / image.width, every.height / image.height] * 2, np.float32)
        found.append(Photograph(every, iou(every.boxes.astype(np.float32), objects * scale).astype(np.float32)))
    if not found:
        raise click.ClickException(f"no photograph of {split} shows an object: look at more of them")
    return found


def cover(photographs: list[Photograph], weights: Weights, first: int = FIRST) -> dict[int, tuple[float, float]]:
    """Return by number of boxes the mean best overlap over all objects, and the part of them with .5 or more."""
    best: dict[int, list[NDArray[np.float32]]] = {count: [] for count in BUDGETS}
    for each in photographs:
        order = rank(*each.candidates, weights, first)
        for count, rows in best.items():
            rows.append(each.overlaps[order[:count]].max(axis=0))
    joined = {count: np.concatenate(rows) for count, rows in best.items()}
    return {count: (float(values.mean()), float((values >= 0.5).mean())) for count, values in joined.items()}


def search(photographs: list[Photograph], seconds: float, seed: int = 0) -> Weights:
    """Return the best weights that were found in this time, from the present ones on."""
    random = np.random.default_rng(seed)

    def aim(weights: Weights) -> float:
        found = cover(photographs, weights)
        return sum(found[count][0] for count in _AIMED_AT)

    best, highest, end = WEIGHTS, aim(WEIGHTS), time.monotonic() + seconds
    while time.monotonic() < end:
        factors = np.exp(_DEVIATION * random.standard_normal(len(best)) * (random.random(len(best)) < _CHANGED))
        tried = Weights(*(np.array(best) * factors).tolist())
        if (value := aim(tried)) > highest:
            best, highest = tried, value
            click.echo(f"{value:.4f} {tried}", err=True)
    return best


def milliseconds(photographs: list[Photograph], first: int) -> float:
    """Return the median CPU time of the order of one photograph."""
    took = []
    for each in photographs:
        start = time.thread_time()
        rank(*each.candidates, WEIGHTS, first)
        took.append(time.thread_time() - start)
    return 1000 * statistics.median(took)


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=400, show_default=True, help="Photographs of val.")
@click.option("--search", "seconds", type=float, help="Seconds of a search for weights.")
@click.option("--learn-from", type=click.IntRange(min=1), default=200, show_default=True, help="Photographs of train.")
def main(limit: int, seconds: float | None, learn_from: int) -> None:
    """Print a table of the orders."""
    val = find("val", limit)
    orders = {"by level": (WEIGHTS, 0), f"the first {FIRST} by their looks": (WEIGHTS, FIRST)}
    if seconds:
        orders["the same, with the weights found"] = (search(find("train", learn_from), seconds), FIRST)
    rows = []
    for name, (weights, first) in orders.items():
        found = [f"{mabo:.3f} / {recall:.3f}" for mabo, recall in cover(val, weights, first).values()]
        rows.append([name, *found, f"{milliseconds(val, first):.2f}"])
    print(markdown_table(["order", *(f"MABO / recall@.5 at {count}" for count in BUDGETS), "CPU ms"], rows))


if __name__ == "__main__":
    main()
