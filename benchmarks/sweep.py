"""AP and seconds an image for several RoI budgets: how many proposals are worth their time?

    python -m benchmarks.roi_budget --budgets 300,1000,2000

Uses the artifact and the test split of the last `dvc repro`. One image at a time, one thread.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import click

from detector.artifact import DESCRIPTION_FILE, MODEL_FILE, load_artifact, save_artifact
from detector.data.annotations import CocoDataset, load_coco
from detector.predictor import Predictor, Seconds
from detector.stages import layout
from detector.stages.measure import detect_all, figures


def with_budget(artifact: Path, budget: int, folder: Path) -> Path:
    """A copy of an artifact that takes at most `budget` proposals."""
    description = load_artifact(artifact)
    if description.proposals is None:
        raise click.ClickException(f"{artifact / DESCRIPTION_FILE}: this detector makes its own proposals")
    folder.mkdir(parents=True)
    (folder / MODEL_FILE).symlink_to((artifact / MODEL_FILE).resolve())
    proposals = description.proposals.model_copy(update={"max_boxes": budget})
    save_artifact(description.model_copy(update={"proposals": proposals}), folder)
    return folder


def measure(artifact: Path, images: Path, truth: CocoDataset) -> tuple[dict[str, float], list[Seconds]]:
    """Figures of one artifact on one split, and each image's times."""
    predictor, times = Predictor(artifact), []

    def find(_: int, pixels):  # type: ignore[no-untyped-def]
        detections, seconds = predictor.predict_timed(pixels, min_score=0.01)
        times.append(seconds)
        return detections

    found = detect_all(find, images, truth, str(artifact.name))
    return figures(truth, found)[0], times


@click.command()
@click.option("--budgets", default="300,1000,2000", show_default=True, help="Proposals an image.")
@click.option("--artifact", type=click.Path(path_type=Path), default=layout.ARTIFACT, show_default=True)
@click.option("--split", default="test", show_default=True)
def main(budgets: str, artifact: Path, split: str) -> None:
    """Measure one artifact at several RoI budgets."""
    truth = load_coco(layout.DATASET / f"{split}.json")
    print(f"{len(truth.images)} images of {split}; medians, one thread, ms an image")
    print("| RoI budget | mAP@.5 (11-point) | mAP@.7 | mAP@.9 | proposals | network | post-processing |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        for budget in map(int, budgets.split(",")):
            copy = with_budget(artifact, budget, Path(scratch) / f"budget-{budget}")
            values, times = measure(copy, layout.DATASET / "images", truth)
            aps = " | ".join(f"{values[f'map_{iou}_11point']:.3f}" for iou in (50, 70, 90))
            steps = " | ".join(
                f"{1000 * statistics.median(getattr(t, step) for t in times):.1f}"
                for step in ("proposals", "network", "postprocess")
            )
            print(f"| {budget} | {aps} | {steps} |", flush=True)


if __name__ == "__main__":
    main()
