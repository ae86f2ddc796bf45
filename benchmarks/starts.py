"""The starts of `detector init`, compared on a dataset: average precision after trainings of about equal minutes.

    OMP_NUM_THREADS=1 python -m benchmarks.starts build/parts --voc20 16 --imagenet 10

The dataset is one of `detector fetch`, or of `benchmarks.parts`. Each start trains the network that `detector init`
writes for it, with these settings but for the number of epochs, on the same images: `voc20` is the shipped detector,
and `imagenet` EfficientNet-Lite0 with ImageNet's weights. A training that was killed is resumed, and a finished one is
not repeated.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import yaml

from benchmarks.fine_tuning import SETTINGS, Trial, Way, only, rows, run, save
from detector.common.tables import markdown_table
from detector.data.annotations import CocoDataset, load_coco
from detector.params import ModelSettings, TrainSettings, load_params
from detector.stages import layout
from detector.stages.init import STARTS, Start, Suggestion, median_side, params_text, relative_sizes, suggest


def draw(dataset: Path, counts: dict[str, int], out: Path) -> dict[str, CocoDataset]:
    """Write some images of each split into `out`, drawn at random, and return them.

    Raises click.UsageError if `dataset` lacks a split, or if `out` has images of another dataset.
    """
    if lacking := [name for name in counts if not (dataset / f"{name}.json").is_file()]:
        raise click.UsageError(f"{dataset} has no {lacking[0]}.json: name a folder that `detector fetch` wrote")
    images = out / "images"
    if images.is_symlink() and images.resolve() != (dataset / "images").resolve():
        raise click.UsageError(f"{out} has the images of {images.resolve().parent}: name another folder with --out")
    order = np.random.default_rng(1)
    splits = {}
    for name, count in counts.items():
        truth = load_coco(dataset / f"{name}.json")
        chosen = sorted(order.permutation(len(truth.images))[:count])
        splits[name] = only(truth, truth.classes, [truth.images[place] for place in chosen])
    save(out, dataset / "images", splits, load_params(SETTINGS))
    return splits


def written(start: Start, suggested: Suggestion) -> tuple[ModelSettings, TrainSettings]:
    """Return the settings that `detector init` writes."""
    content = yaml.safe_load(params_text(start, suggested, [], "", ""))
    return ModelSettings.model_validate(content["model"]), TrainSettings.model_validate(content["train"])


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--voc20", type=click.IntRange(min=1), default=16, show_default=True, help="Epochs of this start.")
@click.option("--imagenet", type=click.IntRange(min=1), default=10, show_default=True, help="Epochs of this start.")
@click.option("--images", type=click.IntRange(min=1), default=100, show_default=True, help="Training images at most.")
@click.option("--validated", type=click.IntRange(min=1), default=40, show_default=True, help="Images of val at most.")
@click.option("--tested", type=click.IntRange(min=1), default=200, show_default=True, help="Test images at most.")
@click.option("--image-size", type=click.IntRange(min=64), help="Longer side. Default: as `detector init` suggests.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/starts"), show_default=True)
def main(
    dataset: Path,
    voc20: int,
    imagenet: int,
    images: int,
    validated: int,
    tested: int,
    image_size: int | None,
    seeds: int,
    out: Path,
) -> None:
    """Print a row for each start with its average precision on the test images of DATASET."""
    splits = draw(dataset, {"train": images, "val": validated, "test": tested}, out / "dataset")
    learnt = [(image, dataset / "images" / image.file_name) for image in splits["train"].images]
    sizes, side = list(relative_sizes(learnt)), median_side(learnt)
    settings: dict[Way, tuple[ModelSettings, TrainSettings]] = {}
    for name, epochs in {"voc20": voc20, "imagenet": imagenet}.items():
        suggested = suggest(sizes, side, len(learnt), STARTS[name].seconds, cores=1)
        suggested = replace(suggested, image_size=image_size or suggested.image_size, epochs=epochs)
        settings[Way(f"{name}, {epochs} epochs", {}, {})] = written(STARTS[name], suggested)
    found: dict[Way, list[Trial]] = {}
    for seed in range(1, seeds + 1):
        for way, (model, train) in settings.items():
            own = train.model_copy(update={"seed": seed, "device": "cpu"})
            trial = run(out / "dataset", model, own, out / f"{model.start_from}-{train.epochs}-{seed}")
            found.setdefault(way, []).append(trial)
            print(f"seed {seed}, {way.title}, {model.image_size} pixels: {trial}", flush=True)
    counts = ", ".join(str(len(splits[name].images)) for name in layout.SPLITS)
    print(f"{counts} images to train, validate, test; {seeds} seeds")
    measured = [[*cells[:3], cells[-1]] for cells in rows(found)]  # no other photographs were looked at
    print(markdown_table(["start", "AP@.5", "AP@.5:.95", "CPU minutes"], measured))


if __name__ == "__main__":
    main()
