"""How busy the data keep a training: images a second of the training loop, as a share of the same steps on batches that
lie in memory.

    python -m benchmarks.loading

The settings are those of params.yaml, on scenes that it draws itself. Both ways take the same batches, in turns; the
median of the turns after the first counts.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import click
import torch

from benchmarks.training import settings
from detector.common.cores import cores
from detector.data.annotations import load_coco
from detector.model.device import choose_device, make_deterministic
from detector.model.distributed import World
from detector.model.family import build
from detector.model.precision import resolve_precision
from detector.model.training import new_learner, train_one_epoch
from detector.model.training_images import Batches, LikeShapes, TrainingImages, batches
from detector.proposals.store import load_proposals
from detector.stages import fetch, propose


@click.command()
@click.option("--images", default=96, show_default=True, type=click.IntRange(min=1), help="Training images.")
@click.option("--image-size", default=256, show_default=True, type=click.IntRange(min=32), help="Longer side, pixels.")
@click.option(
    "--turns", default=4, show_default=True, type=click.IntRange(min=2), help="Of each way; the first is free."
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def main(images: int, image_size: int, turns: int, device: str) -> None:
    """Print both rates, and their ratio."""
    params = settings(images, image_size, 2 * turns)
    make_deterministic(params.train.seed)
    where = choose_device(device)  # type: ignore[arg-type]
    precision = resolve_precision(params.train.precision, where)
    with tempfile.TemporaryDirectory() as scratch:
        data, boxes = Path(scratch, "data"), Path(scratch, "boxes")
        fetch.fetch(params.fetch, params.fetch.seed, data)
        propose.run(params.propose, params.model.name, data, boxes, Path(scratch, "recall.json"), cores())
        truth = load_coco(data / "train.json")
        learner = new_learner(build(params.model, len(truth.classes)), truth, params.train, where, precision, World())
        proposals = load_proposals(boxes / "train.npz", images)
        examples = TrainingImages(
            data / "images", truth, proposals, params.train.proposals, params.train.seed, ("flip",)
        )
        order = LikeShapes(truth, params.train, 0, World())
        loader = batches(examples, order, where)
        ways: dict[str, Batches] = {"from files": loader, "in memory": list(loader)}
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(turns):
            for way, given in ways.items():
                start = time.perf_counter()
                train_one_epoch(learner, given, order.weights, params.train, 0, World())
                rates[way].append(images / (time.perf_counter() - start))
    found = {way: statistics.median(own[1:]) for way, own in rates.items()}
    print(f"{where.type}, {precision}, {cores()} cores, {torch.get_num_threads()} threads; {images} images, images/s")
    print("| " + " | ".join([*found, "share"]) + " |\n| --- | --- | --- |")
    print(f"| {found['from files']:.1f} | {found['in memory']:.1f} | {found['from files'] / found['in memory']:.2f} |")


if __name__ == "__main__":
    main()
