"""Measure one artifact at other image sizes or RoI budgets than it was exported for: AP, and time for each image.

    python -m benchmarks.sweep --image-sizes 224,320,384,400
    python -m benchmarks.sweep --budgets 300,1000,2000

It uses the artifact and the test split of the last `dvc repro`, one image at a time, in one thread.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click

from detector.data.annotations import CocoDataset, load_coco
from detector.evaluation.measure import detect_all, figures
from detector.runtime.artifact import MODEL_FILE, Artifact, load_artifact, save_artifact
from detector.runtime.detector import open_detector, read_for
from detector.runtime.postprocess import Detections
from detector.runtime.preprocess import own_preprocessing
from detector.stages import layout


def variants(artifact: Artifact, image_sizes: list[int], budgets: list[int]) -> dict[str, Artifact]:
    """Return artifacts with one thing changed each, by the name of the change."""
    changed = {
        f"image size {size}": artifact.model_copy(update={"preprocessing": own_preprocessing(size)})
        for size in image_sizes
    }
    for budget in budgets:
        if artifact.proposals is None:
            raise click.ClickException("this detector makes its own proposals: their number is part of the graph")
        proposals = artifact.proposals.model_copy(update={"max_boxes": budget})
        decoding = artifact.decoding.model_copy(update={"proposals": proposals})
        changed[f"RoI budget {budget:,}"] = artifact.model_copy(update={"decoding": decoding})
    return changed or {"as exported": artifact}


def measure(
    folder: Path, images: Path, truth: CocoDataset, title: str
) -> tuple[dict[str, float], list[Mapping[str, float]]]:
    """Return the figures of one artifact on one split, and each image's times by step."""
    detector, least_score = open_detector(folder), load_artifact(folder).least_score
    times: list[Mapping[str, float]] = []

    def find(_: int, data: bytes) -> Detections:
        batch = detector.detect([read_for(detector, data)], min_score=least_score)
        times.append(batch.seconds)
        return batch.detections[0]

    found = detect_all(find, images, truth, title)
    return figures(truth, found)[0], times


def _numbers(_: click.Context, __: click.Parameter, value: str) -> list[int]:
    return [int(number) for number in value.split(",") if number]


@click.command()
@click.option("--image-sizes", default="", callback=_numbers, help="Pixels of the longer side: 224,320,400.")
@click.option("--budgets", default="", callback=_numbers, help="Proposals an image: 300,1000,2000.")
@click.option("--artifact", type=click.Path(path_type=Path), default=layout.ARTIFACT, show_default=True)
@click.option("--dataset", type=click.Path(path_type=Path), default=layout.DATASET, show_default=True)
@click.option("--split", default="test", show_default=True)
def main(image_sizes: list[int], budgets: list[int], artifact: Path, dataset: Path, split: str) -> None:
    """Measure one artifact in several variants."""
    truth = load_coco(dataset / f"{split}.json")
    print(f"{len(truth.images)} images of {split}; medians, one thread, ms an image")
    print("| variant | mAP@.5 (11-point) | mAP@.7 | mAP@.9 | proposals | network | post-processing |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for title, variant in variants(load_artifact(artifact), image_sizes, budgets).items():
        with tempfile.TemporaryDirectory() as scratch:
            (Path(scratch) / MODEL_FILE).symlink_to((artifact / MODEL_FILE).resolve())
            save_artifact(variant, Path(scratch))
            values, times = measure(Path(scratch), dataset / "images", truth, title)
        aps = " | ".join(f"{values[f'map_{iou}_11point']:.3f}" for iou in (50, 70, 90))
        steps = " | ".join(
            f"{1000 * statistics.median(took.get(step, 0.0) for took in times):.1f}"
            for step in ("proposals", "network", "postprocess")
        )
        print(f"| {title} | {aps} | {steps} |", flush=True)


if __name__ == "__main__":
    main()
