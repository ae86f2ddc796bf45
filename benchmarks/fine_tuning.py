"""Start from an earlier detector or from ImageNet: average precision after equal training on few photographs.

    OMP_NUM_THREADS=1 python -m benchmarks.fine_tuning
    OMP_NUM_THREADS=1 python -m benchmarks.fine_tuning --augment flip --augment flip,colour --augment flip,scale

The photographs are those of the last `dvc repro` with settings/voc2007-400px.yaml. Four of VOC's classes are held to be
new: the first detector learns the other sixteen, on photographs without any of the four. Then each way trains on the
same photographs of the new classes, or on scenes that the project draws, which are far from VOC. The ways differ in
`model.start_from`, or, with --augment, in `train.augment`. A training that was killed is resumed, and a finished one is
not repeated. `benchmarks.starts` compares the starts of `detector init`.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np

from detector.common.tables import markdown_table
from detector.data.annotations import CocoDataset, ImageInfo, load_coco, save_coco
from detector.data.settings import FetchSettings
from detector.model.network import DetectionNetwork
from detector.model.trained import load_trained
from detector.model.validation import Figures, validation
from detector.model.weights_file import WEIGHTS_FILE
from detector.params import ModelSettings, Params, TrainSettings, load_params
from detector.proposals.store import Proposals
from detector.stages import fetch, layout, propose, train

SETTINGS = Path(__file__).parents[1] / "settings" / "faster_rcnn.yaml"
# The first four of the classes that few-shot detection holds to be new (Kang et al., ICCV 2019, split 1).
NEW = ("bird", "bus", "cow", "motorbike")
_VALIDATED = 40


@dataclass(frozen=True, eq=False)
class Way:
    """What a training starts from, and the settings in which it differs from the others."""

    title: str
    model: Mapping[str, object]
    train: Mapping[str, object]


@dataclass(frozen=True)
class Trial:
    """The outcome of one training; APs are all-point, 0 to 1.

    ap_50, ap: on test images like those of the training; ap_50_any: on any photographs, NaN elsewhere.
    """

    ap_50: float
    ap: float
    ap_50_any: float
    cpu_minutes: float


def only(truth: CocoDataset, classes: Sequence[str], images: Sequence[ImageInfo]) -> CocoDataset:
    """Return a dataset of these images with the objects of these classes alone."""
    table = np.full(len(truth.classes), -1)
    table[[truth.classes.index(name) for name in classes]] = range(len(classes))
    kept = []
    for number, image in enumerate(images, start=1):
        labels = table[image.labels]
        own = labels >= 0
        boxes, ignore, crowd = image.boxes[own], image.ignore[own], image.crowd[own]
        kept.append(replace(image, id=number, boxes=boxes, labels=labels[own], ignore=ignore, crowd=crowd))
    return CocoDataset(tuple(classes), tuple(kept))


def with_any(truth: CocoDataset, classes: Sequence[str]) -> tuple[list[ImageInfo], list[ImageInfo]]:
    """Return the images with an object of one of these classes, and the others."""
    labels = [truth.classes.index(name) for name in classes]
    has = [bool(np.isin(image.labels, labels).any()) for image in truth.images]
    both = ([image for image, own in zip(truth.images, has, strict=True) if own is side] for side in (True, False))
    found, others = both
    return found, others


def save(folder: Path, images: Path, splits: dict[str, CocoDataset], settings: Params) -> None:
    """Write a dataset whose images lie elsewhere, and its proposals."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "images").is_symlink():
        (folder / "images").symlink_to(images.resolve())
    for name, split in splits.items():
        save_coco(split, folder / f"{name}.json")
    propose.run(settings.propose, settings.model.name, folder, folder / "proposals", folder / "proposals.json", 1)


def prepare_first(dataset: Path, out: Path, params: Params) -> Path:
    """Write the data of the first detector: the other classes, on photographs without the new ones."""
    splits = {name: load_coco(dataset / f"{name}.json") for name in layout.SPLITS}
    classes = [name for name in splits["train"].classes if name not in NEW]
    own = {name: only(split, classes, with_any(split, NEW)[1]) for name, split in splits.items()}
    save(out / "first", dataset / "images", own, params)
    return out / "first"


def prepare_new(dataset: Path, out: Path, params: Params, images: int, tested: int) -> Path:
    """Write photographs of the new classes: some to train and to validate, those of the test split, and, as any.json,
    every second one of that split, most of which have none of the classes."""
    splits = {name: load_coco(dataset / f"{name}.json") for name in layout.SPLITS}
    order = np.random.default_rng(1)
    own = {}
    for name, count in (("train", images), ("val", min(images, _VALIDATED))):
        found = with_any(splits[name], NEW)[0]
        chosen = order.permutation(len(found))[:count]
        own[name] = only(splits[name], NEW, [found[index] for index in sorted(chosen)])
    own["test"] = only(splits["test"], NEW, with_any(splits["test"], NEW)[0][:tested])
    own["any"] = only(splits["test"], NEW, splits["test"].images[::2][:tested])
    save(out / "voc", dataset / "images", own, params)
    return out / "voc"


def prepare_scenes(out: Path, params: Params, images: int, tested: int) -> Path:
    """Draw scenes with other classes."""
    counts = {"train": images, "val": min(images, _VALIDATED), "test": min(tested, 200)}
    drawn = FetchSettings.model_validate({"sources": [{"format": "generated", "splits": counts}]})
    folder = out / "scenes"
    if not (folder / "train.json").exists():
        fetch.fetch(drawn, 1, folder)
    propose.run(params.propose, params.model.name, folder, folder / "proposals", folder / "proposals.json", 1)
    return folder


def run(folder: Path, model: ModelSettings, settings: TrainSettings, home: Path) -> Trial:
    """Train, and measure on the split test."""
    train.run(model, settings, folder, folder / "proposals", home, home / "log", home / "state")
    spent = json.loads((home / "log/metrics.json").read_text())
    network, _ = load_trained(home / WEIGHTS_FILE)
    found = measure(network, folder, "test", model.image_size)
    anywhere = measure(network, folder, "any", model.image_size) if (folder / "any.json").exists() else None
    minutes = (spent["cpu_seconds"] + spent["validation_cpu_seconds"]) / 60
    return Trial(found.ap_50, found.ap, anywhere.ap_50 if anywhere else float("nan"), minutes)


def measure(network: DetectionNetwork, folder: Path, split: str, image_size: int) -> Figures:
    """Return the figures of a network that makes its own proposals."""
    truth = load_coco(folder / f"{split}.json")
    nothing = Proposals(np.zeros((0, 4), np.float32), np.zeros(len(truth.images) + 1, np.int64))
    return validation(folder / "images", truth, nothing, image_size)(network)


def rows(found: dict[Way, list[Trial]]) -> Iterator[list[str]]:
    """Yield a row for each way: means over the seeds, with the least and the most."""
    for way, trials in found.items():
        cells = [way.title]
        for name in ("ap_50", "ap", "ap_50_any"):
            values = [getattr(trial, name) for trial in trials]
            known = not math.isnan(values[0])
            cells.append(f"{statistics.fmean(values):.3f} ({min(values):.3f} to {max(values):.3f})" if known else "–")
        cells.append(f"{statistics.fmean(trial.cpu_minutes for trial in trials):.1f}")
        yield cells


def compare(
    domain: str, folder: Path, ways: list[Way], model: ModelSettings, settings: TrainSettings, out: Path, seeds: int
) -> dict[Way, list[Trial]]:
    """Return the trials of each way, one for each seed; the ways take turns."""
    found: dict[Way, list[Trial]] = {}
    for seed in range(1, seeds + 1):
        for way in ways:
            own = settings.model_copy(update={"seed": seed, **way.train})
            home = out / f"{domain}-{way.title.replace(' ', '-')}-{seed}"
            found.setdefault(way, []).append(run(folder, model.model_copy(update=way.model), own, home))
            print(f"{domain}, seed {seed}, {way.title}: {found[way][-1]}", flush=True)
    return found


@click.command()
@click.option("--domain", "domains", type=click.Choice(["voc", "scenes"]), multiple=True, help="Default: both.")
@click.option("--augment", "lists", multiple=True, metavar="NAME,NAME", help="Compare these lists; else, the starts.")
@click.option("--images", default=100, show_default=True, help="Training images.")
@click.option("--tested", default=480, show_default=True, help="Test images at most.")
@click.option("--epochs", default=4, show_default=True)
@click.option("--first-epochs", default=2, show_default=True, help="Of the first detector.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--image-size", default=256, show_default=True, help="Pixels of the longer side.")
@click.option("--dataset", type=click.Path(path_type=Path), default=layout.DATASET, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/fine_tuning"), show_default=True)
def main(
    domains: tuple[str, ...],
    lists: tuple[str, ...],
    images: int,
    tested: int,
    epochs: int,
    first_epochs: int,
    seeds: int,
    image_size: int,
    dataset: Path,
    out: Path,
) -> None:
    """Print a table for each domain with the average precision of each way on test."""
    params = load_params(SETTINGS)
    model = params.model.model_copy(update={"image_size": image_size})
    sizes = (image_size - 32, image_size, image_size + 32)
    settings = params.train.model_copy(update={"image_sizes": sizes, "average": 0.99, "device": "cpu"})
    first = prepare_first(dataset, out, params)
    start = out / "start"
    long = settings.model_copy(update={"epochs": first_epochs, "average": 0.998})
    run(first, model, long, start)
    learnt = {"start_from": str(start / WEIGHTS_FILE)}
    ways = [Way("ImageNet", {"start_from": "imagenet"}, {}), Way("the first detector", learnt, {})]
    if lists:
        ways = [Way(names or "none", learnt, {"augment": tuple(filter(None, names.split(",")))}) for names in lists]
    for domain in domains or ("voc", "scenes"):
        folder = (
            prepare_new(dataset, out, params, images, tested)
            if domain == "voc"
            else prepare_scenes(out, params, images, tested)
        )
        trials = compare(domain, folder, ways, model, settings.model_copy(update={"epochs": epochs}), out, seeds)
        counts = [len(load_coco(folder / f"{name}.json").images) for name in layout.SPLITS]
        print(
            f"{domain}: {', '.join(map(str, counts))} images to train, validate, test; {epochs} epochs, {seeds} seeds"
        )
        print(markdown_table(["way", "AP@.5", "AP@.5:.95", "AP@.5, any", "CPU minutes"], list(rows(trials))))


if __name__ == "__main__":
    main()
