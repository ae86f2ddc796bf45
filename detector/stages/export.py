"""Stage `export`: the trained network as an artifact that runs without torch, and what that very artifact achieves."""

from __future__ import annotations

import hashlib
import subprocess
from collections import Counter
from pathlib import Path

from detector.artifact import (
    MODEL_FILE,
    Artifact,
    Baseline,
    ProposalSettings,
    save_artifact,
)
from detector.data.annotations import CocoDataset, load_coco
from detector.digest import sha256_of
from detector.evaluation.average_precision import operating_score
from detector.model.fast_rcnn import FastRCNN
from detector.model.onnx_export import export_onnx
from detector.model.trained import load_trained
from detector.params import Params, params_digest
from detector.postprocess import Detections
from detector.predictor import Predictor
from detector.stages.layout import SPLITS
from detector.stages.measure import detect_all, figures
from detector.stages.metrics_file import write_json


def git_revision() -> str | None:
    """The commit of the working tree's code, with `+changes` if files differ from it; None outside git.

    params.yaml and dvc.lock may differ: the artifact carries the digests of what they say.
    """
    try:
        return _git("rev-parse", "HEAD") + ("+changes" if _git("status", "--porcelain", *_CODE) else "")
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None


_CODE = ("--untracked-files=no", "--", ".", ":!params.yaml", ":!dvc.lock")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()


def _data_digest(dataset: Path) -> str:
    """sha256 over the annotation files and all images, by name."""
    digest = hashlib.sha256()
    files = [dataset / f"{split}.json" for split in SPLITS]
    for path in files + sorted(path for path in (dataset / "images").rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(dataset).as_posix()} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def _predict(
    predictor: Predictor, folder: Path, truth: CocoDataset, min_score: float, workers: int, title: str
) -> dict[int, Detections]:
    return detect_all(lambda _, pixels: predictor.predict(pixels, min_score=min_score), folder, truth, title, workers)


def _write_graph(network: FastRCNN, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    export_onnx(network, path)


def run(params: Params, dataset: Path, weights: Path, out: Path, workers: int) -> None:
    """Write `out/model.onnx` and `out/model.json`.

    The operating score is picked on val and the stored metrics are taken on test, both with the exported graph through
    `predictor`, in `workers` threads; metrics.json beside them holds the same figures for `dvc metrics`.
    """
    settings = params.evaluate
    network, model, classes = load_trained(weights)
    _write_graph(network, out / MODEL_FILE)
    artifact = Artifact(
        name=model.name,
        backbone=model.backbone,
        classes=classes,
        image_size=model.image_size,
        proposals=ProposalSettings(mode=params.propose.mode, max_boxes=settings.max_proposals),
        nms_threshold=settings.nms_threshold,
        max_detections=settings.max_detections,
        operating_score=settings.min_score,
        metrics={},
        baseline=Baseline(images=0, boxes={}),
        onnx_sha256=sha256_of(out / MODEL_FILE),
        git_revision=git_revision(),
        data_digest=_data_digest(dataset),
        params_digest=params_digest(params),
    )
    save_artifact(artifact, out)  # what the predictor needs; the measured fields follow
    predictor = Predictor(out)
    images = dataset / "images"
    val, test = load_coco(dataset / "val.json"), load_coco(dataset / "test.json")
    score = operating_score(val, _predict(predictor, images, val, settings.min_score, workers, "export, val"))
    found = _predict(predictor, images, test, settings.min_score, workers, "export, test")
    metrics = {name: round(value, 6) for name, value in figures(test, found)[0].items() if value == value}
    labels = Counter(
        classes[label] for detections in found.values() for label in detections.labels[detections.scores >= score]
    )
    baseline = Baseline(images=len(test.images), boxes={name: labels[name] for name in classes})
    final = artifact.model_copy(update={"operating_score": score, "metrics": metrics, "baseline": baseline})
    save_artifact(final, out)
    write_json(out / "metrics.json", {"operating_score": score, **metrics})
