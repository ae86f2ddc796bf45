"""Train on generated scenes through DVC, run the artifact over a bucket, publish, and show what came out; then the
shipped artifact on real photographs: `python -m demo [FOLDER OF PHOTOGRAPHS]`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from demo import photographs
from detector.common.drawing import draw_detections
from detector.runtime.geometry.boxes import xywh_to_xyxy
from detector.runtime.images import decode_image
from tests.support.local_s3 import serve

HERE = photographs.SCENES
IMAGES, ARTIFACT = Path("build/dataset/images"), Path("models/detector")
METRICS = Path("build/evaluation/metrics.json")


def main() -> None:
    """Run the demo. It stops with the exit code of the first command that fails."""
    try:
        folder = photographs.choose(sys.argv[1] if len(sys.argv) > 1 else None)  # before minutes of training, not after
    except photographs.NoPhotographs as error:
        sys.exit(f"error: {error}")

    _title("1/4  dvc repro: fetch, propose, train, evaluate, export")
    _run("dvc", "repro")

    _title("2/4  boxcar run, from a bucket of a local S3 server to another")
    shutil.rmtree(HERE, ignore_errors=True)
    buckets = HERE / "s3"
    photos = buckets / "photos" / "test"
    photos.mkdir(parents=True)
    (buckets / "boxes").mkdir()
    for path in sorted(IMAGES.glob("test-*")):
        shutil.copyfile(path, photos / path.name)
    with serve(buckets, HERE / "s3.log") as server:
        _run(
            "boxcar", "run", "s3://photos/test/", "s3://boxes/demo/", "--model", str(ARTIFACT),
            "--latest", "s3://boxes/latest.json",
            environment=server.environment(),
        )  # fmt: skip
    run = HERE / "run"
    shutil.copytree(buckets / "boxes" / "demo", run)

    _title("3/4  what came out")
    drawn = HERE / "boxes.png"
    _draw_fullest(run, photos, drawn)
    metrics = json.loads(METRICS.read_text())
    for iou, word in ((50, "decent"), (70, "pretty good"), (90, "almost perfect")):
        print(f"{f'test mAP at IoU .{iou} ({word})':<40}{metrics[f'map_{iou}_11point']:.3f}")
    print(f"{'manifest':<40}{run / 'manifest.json'}")
    print(f"{'image with boxes':<40}{drawn}")
    print(f"{'images with truth and detections':<40}build/evaluation/grid.png")

    _title("4/4  boxcar run without --model: the shipped detector on real photographs")
    sys.exit(photographs.run(folder))


def _title(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _run(*words: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(words, env=environment)
    if done.returncode:
        sys.exit(done.returncode)


def _draw_fullest(run: Path, photos: Path, path: Path) -> None:
    """Draw the image whose record has the most boxes."""
    lines = [line for part in sorted((run / "boxes").glob("*.jsonl")) for line in part.read_text().splitlines()]
    record: dict[str, Any] = max(map(json.loads, lines), key=lambda record: len(record["boxes"]))
    classes = json.loads((ARTIFACT / "model.json").read_text())["classes"]
    boxes = record["boxes"]
    # The scenes are small. They are drawn larger, so that the labels do not hide the objects.
    pixels = decode_image((photos / Path(record["image"]).name).read_bytes()).repeat(3, axis=0).repeat(3, axis=1)
    draw_detections(
        pixels,
        xywh_to_xyxy(np.array([[box["x"], box["y"], box["width"], box["height"]] for box in boxes], np.float32) * 3),
        np.array([classes.index(box["label"]) for box in boxes], np.int64),
        np.array([box["score"] for box in boxes]),
        classes,
    ).save(path)


if __name__ == "__main__":
    main()
