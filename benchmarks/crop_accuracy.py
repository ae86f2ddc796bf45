"""Why R-CNN stays below Fast R-CNN: its crops' size, and how many of them a training step has.

    OMP_NUM_THREADS=1 python -m benchmarks.crop_accuracy

Each way is trained and tested on the same images, with the same proposals at test. In training, R-CNN draws its crops
from the best 500 proposals of an image and Fast R-CNN its regions from 1,000, as in `detector compare family`. Fast
R-CNN is also trained with as few regions an image as R-CNN has crops. A run that was stopped goes on where it was.
`build/dataset` is what `detector fetch` makes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from detector.common.tables import markdown_table
from detector.compare.family.measure import Cost, measure
from detector.compare.family.members import MEMBERS
from detector.compare.family.subset import write_subset
from detector.data.annotations import load_coco
from detector.evaluation.bootstrap import draw_map, interval
from detector.evaluation.detections import load_results
from detector.params import Params, load_params
from detector.stages import layout

SETTINGS = Path(__file__).parents[1] / "settings" / "voc2007-400px.yaml"
IOU = 0.5


@dataclass(frozen=True)
class Way:
    """A member of the family, with a crop's side in pixels, or with a number of regions for each image of a step."""

    member: str
    crop_size: int | None = None
    regions: int | None = None

    @property
    def name(self) -> str:
        """Return the name of the way's folder."""
        return f"{self.member}-{self.crop_size or self.regions or 'as-set'}"

    def params(self, base: Params, epochs: int) -> Params:
        """Return the settings of this way."""
        changed = MEMBERS[self.member].params(base, epochs).model_dump()
        if self.crop_size is not None:
            changed["model"]["crop_size"] = self.crop_size
        if self.regions is not None:
            changed["train"]["regions"] = self.regions
        return Params.model_validate(changed)


def title(cost: Cost, params: Params) -> str:
    """Return what the table calls a way."""
    crops = f", crops of {params.model.crop_size}" if params.model.name == "rcnn" else ""
    return f"{cost.title}{crops}, {params.train.regions} regions an image"


_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option("--settings", type=click.Path(path_type=Path, exists=True), default=SETTINGS, show_default=True)
@click.option("--dataset", type=_FOLDER, default=layout.DATASET, show_default=True)
@click.option(
    "--crop-size", "crop_sizes", type=click.IntRange(min=1), multiple=True, default=(64, 128), show_default=True
)
@click.option("--train-images", type=click.IntRange(min=1), default=400, show_default=True)
@click.option("--test-images", type=click.IntRange(min=1), help="Default: all.")
@click.option("--proposals", type=click.IntRange(min=1), default=200, show_default=True, help="Of a test image.")
@click.option("--epochs", type=click.IntRange(min=1), default=6, show_default=True)
@click.option("--out", type=_FOLDER, default=Path("build/benchmarks/crop_accuracy"), show_default=True)
def main(
    settings: Path,
    dataset: Path,
    crop_sizes: tuple[int, ...],
    train_images: int,
    test_images: int | None,
    proposals: int,
    epochs: int,
    out: Path,
) -> None:
    """Train R-CNN with crops of several sizes, and Fast R-CNN with two numbers of regions."""
    base = load_params(settings)
    base = base.model_copy(
        update={
            "train": base.train.model_copy(update={"proposals": 1000}),
            "detect": base.detect.model_copy(update={"max_proposals": proposals}),
        }
    )
    counts = {"train": train_images, "val": 0, "test": test_images}
    write_subset(dataset, out / "dataset", counts, base.train.seed)
    test = load_coco(out / "dataset" / "test.json")
    few = MEMBERS["rcnn"].params(base, epochs).train.regions
    ways = [Way("fast_rcnn"), Way("fast_rcnn", regions=few), *(Way("rcnn", crop_size=side) for side in crop_sizes)]
    rows: list[tuple[str, ...]] = []
    first: tuple[NDArray[np.float64], float] | None = None
    for way in ways:
        params = way.params(base, epochs)
        cost = measure(MEMBERS[way.member].title, params, out / "dataset", out / "proposals", out / way.name)
        found = load_results(out / way.name / "evaluation" / "detections.json", test)
        draws, own = draw_map(test, found, IOU), cost.map_50 or 0.0
        low, high = interval(draws, own)
        gap = "" if first is None else "{:+.3f} to {:+.3f}".format(*interval(draws - first[0], own - first[1]))
        first = first or (draws, own)
        rows.append(
            (
                title(cost, params),
                f"{cost.training_seconds / 60:.1f}",
                f"{1000 * cost.network_seconds:,.0f}",
                f"{own:.3f} ({low:.3f} to {high:.3f})",
                gap,
            )
        )
    print(
        f"{train_images} training and {len(test.images)} test images, {proposals} proposals at test, {epochs} epochs; "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads\n"
    )
    head = ["way", "training, CPU minutes", "network at test, ms", "mAP@.5 (95 %)", "less the first, 95 %"]
    print(markdown_table(head, rows))


if __name__ == "__main__":
    main()
