"""The circle, driven whole: a detector labels a folder, people correct a sample, and a better detector learns from it.

The scenes are bright rectangles on noise, which a network with pre-trained features learns from two dozen images.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from detector.params import Params
from detector.runtime.artifact import Artifact, load_artifact
from detector.stages import evaluate, export, fetch, propose, train
from jobs.cli import main

pytestmark = pytest.mark.slow

SIDE = 64
Boxes = list[tuple[int, int, int, int]]  # x, y, width, height


def draw(number: int, path: Path) -> Boxes:
    """Write a scene, and return the boxes of the one or two rectangles that it shows."""
    random = np.random.default_rng(number)
    pixels = random.integers(60, 120, (SIDE, SIDE, 3), np.uint8)
    boxes: Boxes = []
    for _ in range(random.integers(1, 3)):
        width, height = map(int, random.integers(14, 28, 2))
        x, y = int(random.integers(0, SIDE - width)), int(random.integers(0, SIDE - height))
        if all(x + width <= a or a + w <= x or y + height <= b or b + h <= y for a, b, w, h in boxes):
            pixels[y : y + height, x : x + width] = random.integers(170, 255, 3)
            boxes.append((x, y, width, height))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return boxes


def scenes(folder: Path, start: int, count: int) -> dict[str, Boxes]:
    """Write scenes; returns the true boxes by file name."""
    return {f"{n}.png": draw(n, folder / f"{n}.png") for n in range(start, start + count)}


def coco(path: Path, truth: dict[str, Boxes]) -> str:
    """Write COCO JSON of the one class; returns its path."""
    rows = [(number, box) for number, boxes in enumerate(truth.values(), start=1) for box in boxes]
    document = {
        "categories": [{"id": 1, "name": "thing"}],
        "images": [{"id": n, "file_name": name, "width": SIDE, "height": SIDE} for n, name in enumerate(truth, 1)],
        "annotations": [{"id": n, "image_id": i, "category_id": 1, "bbox": box} for n, (i, box) in enumerate(rows, 1)],
    }
    path.write_text(json.dumps(document))
    return str(path)


def settings(sources: list[dict[str, Any]], epochs: int) -> Params:
    """The settings of a training that takes seconds."""
    content = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text())
    content["fetch"]["sources"] = sources
    content["model"].update(name="faster_rcnn", image_size=SIDE, pyramid_channels=16, hidden=32)
    content["train"].update(
        device="cpu", precision="fp32", epochs=epochs, batch_size=4, image_sizes=[SIDE], learning_rate=0.003,
        average=0.0, frozen_blocks=7, proposals=50, regions=16,
    )  # fmt: skip
    content["detect"].update(max_proposals=30, min_score=0.05, max_detections=10)
    return Params.model_validate(content)


def build(home: Path, params: Params) -> Artifact:
    """Run the stages after `fetch` on home/dataset; returns the artifact, which is in home/artifact."""
    dataset, proposals = home / "dataset", home / "proposals"
    propose.run(params.propose, params.model.name, dataset, proposals, home / "proposals.json", threads=1)
    train.run(params.model, params.train, dataset, proposals, home / "train", home / "log", home / "state")
    weights = home / "train" / train.WEIGHTS_FILE
    evaluate.run(params.detect, params.propose, dataset, proposals, weights, home / "evaluation")
    export.run(params, dataset, weights, home / "evaluation", home / "artifact")
    return load_artifact(home / "artifact")


def boxcar(*arguments: object) -> None:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output


def test_corrected_boxes_of_a_run_make_a_better_detector(tmp_path: Path) -> None:
    photos, sample, dataset = tmp_path / "photos", tmp_path / "sample", tmp_path / "first/dataset"
    ranges = {"train": (0, 4), "val": (100, 8), "test": (200, 8)}
    people: dict[str, Any] = {"format": "coco", "splits": {}}
    for name, (start, count) in ranges.items():
        annotations = coco(dataset / f"{name}.json", scenes(dataset / "images", start, count))
        people["splits"][name] = {"annotations": annotations, "images": str(dataset / "images")}
    first = build(tmp_path / "first", settings([people], epochs=1))  # `fetch` would write the same dataset

    truth = scenes(photos, 300, 18)
    boxcar("run", photos, tmp_path / "boxes", "--model", tmp_path / "first/artifact", "--min-score", 0.1)
    boxcar("sample", tmp_path / "boxes", "--count", 16, "--to", "coco", "--copy-images", "--out", sample)
    (labels,) = sample.glob("*.coco.json")
    drawn = [row["file_name"] for row in json.loads(labels.read_bytes())["images"]]
    coco(labels, {name: truth[name] for name in drawn})  # what a person does in a labelling tool
    corrected = {"format": "coco", "splits": {"train": {"annotations": str(labels), "images": f"{sample}/images"}}}
    runs = {"format": "manifests", "runs": [str(tmp_path / "boxes")], "corrections": [corrected]}

    params = settings([people, runs], epochs=10)  # 4 end anywhere between .4 and .9
    fetch.fetch(params.fetch, params.fetch.seed, tmp_path / "second/dataset", tmp_path / "splits.csv")
    second = build(tmp_path / "second", params)
    before, after = (artifact.metrics["map_50_all_point"] for artifact in (first, second))
    assert after > before + 0.3, (before, after)
    learnt = json.loads((tmp_path / "second/dataset/train.json").read_bytes())
    assert len(learnt["images"]) == 4 + 18
    (origin,) = second.label_runs
    assert (origin.images, origin.corrected, origin.artifact) == (18, 16, "faster_rcnn") and first.label_runs == ()
    manifest = json.loads((tmp_path / "boxes/manifest.json").read_bytes())
    assert (origin.run, origin.artifact_sha256) == (manifest["run"], manifest["lineage"]["artifact_sha256"])
