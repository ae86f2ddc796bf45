"""Stage `export`: the trained network as an artifact that runs without torch, and what that very artifact achieves."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np

from detector.common.digests import sha256_of
from detector.data.annotations import CocoDataset, load_coco
from detector.evaluation import calibration
from detector.evaluation.average_precision import evaluate_voc, operating_score
from detector.evaluation.reliability_plot import draw_reliability
from detector.model.network import DetectionNetwork
from detector.model.onnx_export import export_onnx
from detector.model.trained import load_trained
from detector.params import ModelSettings, Params, params_digest
from detector.proposals import METHODS
from detector.runtime.artifact import (
    MODEL_FILE,
    Artifact,
    Baseline,
    Calibration,
    ProposalSettings,
    save_artifact,
)
from detector.runtime.baseline import Histograms
from detector.runtime.geometry.boxes import area
from detector.runtime.postprocess import Detections, calibrate, calibrated_score, rounded
from detector.runtime.predictor import Predictor
from detector.stages.digests import data_digest
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


def _calibrate(val: CocoDataset, found: dict[int, Detections]) -> tuple[Calibration, dict[int, Detections]]:
    """From detections on val, as the graph scores them: what turns scores into probabilities, and them with these."""
    slope, offset = calibration.fit(calibration.judge(val, found))
    after = {
        image: Detections(own.boxes, rounded(calibrate(own.scores, slope, offset)), own.labels)
        for image, own in found.items()
    }
    return Calibration(slope=slope, offset=offset), after


def _class_scores(val: CocoDataset, found: dict[int, Detections], otherwise: float) -> dict[str, float]:
    """Each class's threshold with the best F1; `otherwise` for a class of which nothing is found."""
    best = {result.name: result.best_f1() for result in evaluate_voc(val, found, (0.5,)).by_iou[0.5]}
    return {name: score if f1 > 0 else otherwise for name, (score, f1) in best.items()}


def _baseline(test: CocoDataset, found: dict[int, Detections]) -> Baseline:
    """What a run is held against: all detections that were measured, so that it may have any higher threshold."""
    seen = Histograms(len(test.classes))
    for image in test.images:
        own = found[image.id]
        seen.add(own.labels, own.scores, area(own.boxes).astype(np.float64) / (image.width * image.height))
    return Baseline(
        images=len(test.images),
        boxes=dict(zip(test.classes, seen.boxes.tolist(), strict=True)),
        sizes=seen.sizes.tolist(),
    )


def _describe(
    params: Params, network: DetectionNetwork, model: ModelSettings, classes: tuple[str, ...], onnx: Path, dataset: Path
) -> Artifact:
    """What is known before anything is measured: enough for the predictor."""
    settings, method = params.evaluate, METHODS[model.name]
    return Artifact(
        name=model.name,
        backbone=model.backbone,
        classes=classes,
        image_size=model.image_size,
        proposals=ProposalSettings(
            method=method, mode=params.propose.mode, max_boxes=settings.max_proposals, batch=network.batch
        )
        if method
        else None,
        nms_threshold=settings.nms_threshold,
        max_detections=settings.max_detections,
        calibration=Calibration(),
        operating_score=settings.min_score,
        class_scores={},
        least_score=settings.min_score,
        metrics={},
        class_ap={},
        baseline=Baseline(images=0, boxes={}, sizes=[]),
        onnx_sha256=sha256_of(onnx),
        git_revision=git_revision(),
        data_digest=data_digest(dataset),
        params_digest=params_digest(params),
    )


def run(params: Params, dataset: Path, weights: Path, out: Path, workers: int) -> None:
    """Write the artifact `out`: model.onnx and model.json.

    Calibration and operating scores are fitted on val and the stored metrics are taken on test, all with the exported
    graph through `predictor`, in `workers` threads; metrics.json beside them holds the same figures for `dvc metrics`,
    reliability.json and reliability.png show how far scores can be trusted, on both splits. `out` is replaced when all
    of it is there: an artifact that is not measured is none.
    """
    network, model, classes = load_trained(weights)
    new = out.with_name(f"{out.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    export_onnx(network, new / MODEL_FILE, params.evaluate.max_proposals)
    artifact = _describe(params, network, model, classes, new / MODEL_FILE, dataset)
    _measure(artifact, dataset, new, workers)
    shutil.rmtree(out, ignore_errors=True)
    new.replace(out)


def _measure(artifact: Artifact, dataset: Path, out: Path, workers: int) -> None:
    """Fill in what the graph in `out` achieves, and write the description and the figures."""

    def predict(known: Artifact, truth: CocoDataset, split: str) -> dict[int, Detections]:
        save_artifact(known, out)
        predictor = Predictor(out)
        return detect_all(
            lambda _, pixels: predictor.predict(pixels, min_score=known.least_score),
            dataset / "images",
            truth,
            f"export, {split}",
            workers,
        )

    val, test = load_coco(dataset / "val.json"), load_coco(dataset / "test.json")
    raw = predict(artifact, val, "val")
    fitted, on_val = _calibrate(val, raw)
    least = calibrated_score(artifact.least_score, fitted.slope, fitted.offset)
    artifact = artifact.model_copy(update={"calibration": fitted, "least_score": least})
    found = predict(artifact, test, "test")
    score = operating_score(val, on_val)
    curves = {
        "val, before": calibration.judge(val, raw),
        "val": calibration.judge(val, on_val),
        "test": calibration.judge(test, found),
    }
    error = calibration.expected_calibration_error
    achieved, voc = figures(test, found)
    values = achieved | {
        "val_calibration_error_before": error(curves["val, before"]),
        "val_calibration_error": error(curves["val"]),
        "calibration_error": error(curves["test"]),
        "calibration_error_operating": error(curves["test"], score),
    }
    metrics = {name: round(value, 6) for name, value in values.items() if value == value}
    final = artifact.model_copy(
        update={
            "operating_score": score,
            "class_scores": _class_scores(val, on_val, score),
            "metrics": metrics,
            "class_ap": {result.name: round(result.ap_11point, 6) for result in voc.by_iou[0.5] if result.truths},
            "baseline": _baseline(test, found),
        }
    )
    save_artifact(final, out)
    bins = {name: calibration.reliability(judged) for name, judged in curves.items()}
    write_json(out / "reliability.json", {name: [asdict(row) for row in rows] for name, rows in bins.items()})
    draw_reliability(bins).save(out / "reliability.png")
    write_json(out / "metrics.json", {"operating_score": score, **metrics})
