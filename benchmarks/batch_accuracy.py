"""Measure the AP of a manifest that `boxcar run` published over a split in a bucket of a local S3 server.

    python -m benchmarks.batch_accuracy

It uses the artifact and the test split of the last `dvc repro`, and compares the AP that it reads back from the
manifest with the AP that `export` stored. An imported artifact has none: then it prints what the manifest gives.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from detector.data.annotations import CocoDataset, load_coco
from detector.evaluation.average_precision import evaluate_voc
from detector.runtime.artifact import load_artifact
from detector.runtime.geometry.boxes import xywh_to_xyxy
from detector.runtime.postprocess import Detections
from detector.stages import layout
from tests.support.local_s3 import serve

IOUS = (0.5, 0.7, 0.75, 0.9)


def read_run(run: Path, truth: CocoDataset) -> dict[int, Detections]:
    """Return the detections of a published run by image id. A record finds its image by the file's name."""
    manifest = json.loads((run / "manifest.json").read_text())
    ids = {image.file_name: image.id for image in truth.images}
    labels = {name: index for index, name in enumerate(truth.classes)}
    found: dict[int, Detections] = {}
    for part in manifest["parts"]:
        for line in (run / part["key"]).read_text().splitlines():
            record: dict[str, Any] = json.loads(line)
            boxes = record["boxes"]
            sides = [[box["x"], box["y"], box["width"], box["height"]] for box in boxes]
            found[ids[record["image"].rpartition("/")[2]]] = Detections(
                xywh_to_xyxy(np.array(sides, np.float32)),
                np.array([box["score"] for box in boxes], np.float64),
                np.array([labels[box["label"]] for box in boxes], np.int64),
            )
    return found


@click.command()
@click.option("--artifact", type=click.Path(path_type=Path), default=layout.ARTIFACT, show_default=True)
@click.option("--dataset", type=click.Path(path_type=Path), default=layout.DATASET, show_default=True)
@click.option("--split", default="test", show_default=True)
@click.option("--min-score", type=float, default=None, help="The job's threshold; by default the artifact's least.")
def main(artifact: Path, dataset: Path, split: str, min_score: float | None) -> None:
    """Run the batch job over one split and read its manifest back."""
    description = load_artifact(artifact)
    least = description.least_score if min_score is None else min_score
    truth = load_coco(dataset / f"{split}.json")
    with tempfile.TemporaryDirectory() as scratch:
        buckets = Path(scratch) / "buckets"
        photos = buckets / "photos" / split
        photos.mkdir(parents=True)
        (buckets / "boxes").mkdir()
        for image in truth.images:
            shutil.copyfile(dataset / "images" / image.file_name, photos / image.file_name)
        with serve(buckets, Path(scratch) / "s3.log") as server:
            start = time.monotonic()
            subprocess.run(
                [
                    sys.executable, "-m", "jobs", "run", f"s3://photos/{split}/", "s3://boxes/run/",
                    "--model", str(artifact), "--min-score", str(least),
                ],
                env=server.environment(),
                check=True,
            )  # fmt: skip
            seconds = time.monotonic() - start
        voc = evaluate_voc(truth, read_run(buckets / "boxes" / "run", truth), IOUS)
    print(f"{len(truth.images)} images in {seconds:.1f} s, start-up and validation included")
    for iou in IOUS:
        name = f"map_{100 * iou:.0f}_11point"
        stored = description.metrics.get(name)
        said = "none in model.json" if stored is None else f"{stored:.6f} in model.json"
        print(f"{name}: {voc.map_11point(iou):.6f} from the manifest, {said}")


if __name__ == "__main__":
    main()
