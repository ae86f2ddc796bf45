"""What R-CNN pays for a pass of the network through each proposal, and where its ratio to Fast R-CNN comes from.

    OMP_NUM_THREADS=1 python -m benchmarks.crops

A few photographs are enough: the time of a crop does not depend on what it shows. Networks are untrained, the ways take
turns on each photograph, and times are CPU seconds of this process. R-CNN is that of its paper: for its SVMs it caches
the vectors of all proposals, where `detector compare family` has the best 500. The fit of the SVMs is not measured.
`build/dataset` and `build/proposals` are what `detector fetch` and `detector propose` make, with proposals from
Selective Search (`model.name: fast_rcnn`).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch

from detector.common.tables import markdown_table
from detector.compare.family.members import MEMBERS
from detector.data.annotations import CocoDataset, load_coco
from detector.model.crops import CropNetwork
from detector.model.distributed import World
from detector.model.family import build
from detector.model.feature_cache import cache_features
from detector.model.network import DetectionNetwork
from detector.model.training import new_learner, train_one_epoch
from detector.model.training_images import Example, TrainingImages, collate
from detector.params import Params, load_params
from detector.proposals.store import Proposals, load_proposals
from detector.runtime.geometry.boxes import Boxes, area

SETTINGS = Path(__file__).parents[1] / "settings" / "voc2007-400px.yaml"
# Girshick 2015, table 4 of "Fast R-CNN": VGG-16 on VOC 2007. Its images have 600 pixels on the shorter side, here taken
# as 600 x 800, and its crops 224 x 224.
PAPER_TRAINING, PAPER_TEST = 84 / 9.5, 47 / 0.32
PAPER_PIXELS = 2000 * 224**2 / (600 * 800)


@dataclass(frozen=True)
class Cost:
    """Of one photograph. passes: of the network; pixels: that it computes, as a multiple of the photograph's.

    Seconds are CPU time: of a training step, of the cache for the SVMs, and of the network at test. cached_bytes: on
    disk.
    """

    passes: float
    pixels: float
    step_seconds: float
    cache_seconds: float
    cached_bytes: float
    test_seconds: float

    def training_hours(self, images: int, epochs: int) -> float:
        """Return the hours of a training: all epochs, and one pass over all proposals for the cache."""
        return images * (epochs * self.step_seconds + self.cache_seconds) / 3600


def cost_of(params: Params, image: TrainingImages, truth: CocoDataset) -> Cost:
    """Return the cost of the only image of a dataset, with all of its proposals."""
    torch.manual_seed(0)
    network = build(params.model, len(truth.classes), weights="none")
    # A schedule of two steps, the first of which does not count.
    settings = params.train.model_copy(update={"batch_size": 1, "epochs": 2})
    learner = new_learner(network, truth, settings, torch.device("cpu"), "fp32", World())
    size = params.model.image_size
    example = image[0, size, 0]
    step = partial(train_one_epoch, learner, [collate([example])], [1.0], settings, 0, World())
    step()
    stepping = _seconds(step)
    network.eval()
    _detect(network, example, network.batch or 1)  # does not count
    testing = _seconds(partial(_detect, network, example, len(example.proposals)))
    if not isinstance(network, CropNetwork):
        return Cost(1, 1.0, stepping, 0.0, 0, testing)
    with tempfile.TemporaryDirectory() as scratch:
        caching = _seconds(partial(cache_features, network, image, size, Path(scratch)))
        cached = cache_features(network, image, size, Path(scratch)).bytes
    passes, pixels = len(example.proposals), example.image.shape[1] * example.image.shape[2]
    return Cost(passes, passes * network.crop_size**2 / pixels, stepping, caching, cached, testing)


def measure(
    ways: dict[str, Params], photographs: CocoDataset, proposals: Sequence[Boxes], folder: Path
) -> dict[str, Cost]:
    """Return the median costs of each way on these photographs, which lie in `folder`."""
    found: dict[str, list[Cost]] = {title: [] for title in ways}
    for photograph, boxes in zip(photographs.images, proposals, strict=True):
        truth = replace(photographs, images=(replace(photograph, id=1),))
        own = Proposals(boxes, np.array([0, len(boxes)]))
        for title, params in ways.items():
            images = TrainingImages(folder, truth, own, len(boxes), params.train.seed)
            found[title].append(cost_of(params, images, truth))
    return {
        title: Cost(*(statistics.median(values) for values in zip(*map(astuple, costs), strict=True)))
        for title, costs in found.items()
    }


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


@torch.inference_mode()
def _detect(network: DetectionNetwork, example: Example, count: int) -> None:
    """Score the first `count` proposals."""
    image = example.image[None].to(memory_format=torch.channels_last)
    for part in example.proposals[:count].split(network.batch or count):
        network.detect(image, part, len(part))


def overlap(photographs: CocoDataset, proposals: Sequence[Boxes]) -> float:
    """Return how many proposals cover a pixel of an image, on average."""
    covered = [
        area(boxes).sum() / (own.width * own.height) for own, boxes in zip(photographs.images, proposals, strict=True)
    ]
    return float(np.mean(covered))


def ways(params: Params, crop_sizes: tuple[int, ...], epochs: int) -> dict[str, Params]:
    """Return the settings of R-CNN with crops of these sides in pixels, and of Fast R-CNN, by title."""
    rcnn = MEMBERS["rcnn_svm"].params(params, epochs)
    found = {
        f"R-CNN, crops of {side}": rcnn.model_copy(update={"model": rcnn.model.model_copy(update={"crop_size": side})})
        for side in crop_sizes
    }
    return found | {"Fast R-CNN": MEMBERS["fast_rcnn"].params(params, epochs)}


def rows(costs: dict[str, Cost], images: int, epochs: int) -> Iterator[list[str]]:
    """Yield a row for each way: what was measured, and the training on `images` images that follows from it."""
    for title, cost in costs.items():
        yield [
            title,
            f"{cost.passes:,.0f}",
            f"{cost.pixels:,.0f}",
            f"{1000 * cost.step_seconds:,.0f}",
            f"{1000 * cost.test_seconds:,.0f}",
            f"{cost.cached_bytes * images / 1e9:.1f}" if cost.cached_bytes else "–",
            f"{cost.training_hours(images, epochs):.1f}",
        ]


def ratios(costs: dict[str, Cost], images: int, epochs: int) -> Iterator[list[str]]:
    """Yield a row with the ratios of each other way to the last one, and then the paper's."""
    *others, last = costs
    fast = costs[last]
    for title in others:
        cost = costs[title]
        trained = cost.training_hours(images, epochs) / fast.training_hours(images, epochs)
        yield [title, f"{cost.pixels:,.0f}", f"{cost.test_seconds / fast.test_seconds:,.0f}", f"{trained:.1f}"]
    yield ["paper, crops of 224", f"{PAPER_PIXELS:,.0f}", f"{PAPER_TEST:,.0f}", f"{PAPER_TRAINING:.1f}"]


@click.command()
@click.option("--dataset", type=click.Path(path_type=Path, exists=True), default=Path("build/dataset"))
@click.option("--proposals", type=click.Path(path_type=Path, exists=True), default=Path("build/proposals"))
@click.option("--settings", type=click.Path(path_type=Path, exists=True), default=SETTINGS)
@click.option("--image-size", type=click.IntRange(min=32), help="Longer side, pixels. Default: that of --settings.")
@click.option("--photographs", default=4, show_default=True, type=click.IntRange(min=1), help="Drawn by a seed.")
@click.option(
    "--crop-size", "sizes", type=click.IntRange(min=32), multiple=True, default=[64, 128, 224], show_default=True
)
def main(
    dataset: Path, proposals: Path, settings: Path, image_size: int | None, photographs: int, sizes: tuple[int, ...]
) -> None:
    """Print the costs, and the ratios to Fast R-CNN."""
    torch.set_num_threads(1)
    params = load_params(settings)
    size = image_size or params.model.image_size
    params = params.model_copy(update={"model": params.model.model_copy(update={"image_size": size})})
    epochs = params.train.epochs
    whole = load_coco(dataset / "train.json")
    stored = load_proposals(proposals / "train.npz", len(whole.images))
    chosen = np.random.default_rng(0).choice(len(whole.images), min(photographs, len(whole.images)), replace=False)
    part = replace(whole, images=tuple(whole.images[index] for index in chosen))
    boxes = [stored[index] for index in chosen]
    if not all(map(len, boxes)):
        raise click.ClickException(f"{proposals}: has no proposals for some images; set model.name to fast_rcnn")
    costs = measure(ways(params, sizes, epochs), part, boxes, dataset / "images")
    images = len(whole.images)
    titles = ["", "passes", "pixels / image's", "training ms", "test ms", f"cache of {images:,}, GB", "training, hours"]
    print(f"{len(chosen)} photographs; the last two columns: extrapolated to {images:,} images and {epochs} epochs\n")
    print(markdown_table(titles, list(rows(costs, images, epochs))))
    print()
    print(markdown_table(["ratio to Fast R-CNN", "pixels", "test", "training"], list(ratios(costs, images, epochs))))
    print(f"\nA pixel of an image lies in {overlap(part, boxes):,.0f} of its proposals on average.")


if __name__ == "__main__":
    main()
