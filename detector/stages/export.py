"""Stage `export`: the trained network as an artifact that runs without torch, and what that very artifact achieves."""

from __future__ import annotations

import hashlib
import subprocess
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from detector.artifact import (
    MODEL_FILE,
    Artifact,
    Baseline,
    Calibration,
    ProposalSettings,
    save_artifact,
)
from detector.data.annotations import CocoDataset, load_coco
from detector.digest import sha256_of
from detector.evaluation import calibration
from detector.evaluation.average_precision import evaluate_voc, operating_score
from detector.evaluation.reliability_plot import draw_reliability
from detector.model.onnx_export import export_onnx
from detector.model.trained import load_trained
from detector.params import Params, params_digest
from detector.postprocess import Detections, calibrated_score
from detector.predictor import Predictor
from detector.proposals import METHODS
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


def _calibrate(val: CocoDataset, found: dict[int, Detections]) -> tuple[Calibration, dict[str, float]]:
    """From detections on val: how their scores become probabilities, and how far off they are before and after."""
    judged = calibration.judge(val, found)
    slope, offset = calibration.fit(judged)
    after = calibration.calibrated(judged, slope, offset)
    return Calibration(slope=slope, offset=offset), {
        "val_calibration_error_before": calibration.expected_calibration_error(judged),
        "val_calibration_error": calibration.expected_calibration_error(after),
    }


def _class_scores(val: CocoDataset, found: dict[int, Detections], otherwise: float) -> dict[str, float]:
    """Each class's threshold with the best F1; `otherwise` for a class of which nothing is found."""
    best = {result.name: result.best_f1() for result in evaluate_voc(val, found, (0.5,)).by_iou[0.5]}
    return {name: score if f1 > 0 else otherwise for name, (score, f1) in best.items()}


def run(params: Params, dataset: Path, weights: Path, out: Path, workers: int) -> None:
    """Write `out/model.onnx` and `out/model.json`.

    Calibration and operating scores are fitted on val and the stored metrics are taken on test, all with the exported
    graph through `predictor`, in `workers` threads; metrics.json beside them holds the same figures for `dvc metrics`,
    reliability.json and reliability.png show how far scores can be trusted, on both splits.
    """
    settings = params.evaluate
    network, model, classes = load_trained(weights)
    out.mkdir(parents=True, exist_ok=True)
    export_onnx(network, out / MODEL_FILE, settings.max_proposals)
    method = METHODS[model.name]
    artifact = Artifact(
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
        baseline=Baseline(images=0, boxes={}),
        onnx_sha256=sha256_of(out / MODEL_FILE),
        git_revision=git_revision(),
        data_digest=_data_digest(dataset),
        params_digest=params_digest(params),
    )
    save_artifact(artifact, out)  # what the predictor needs; the measured fields follow
    images = dataset / "images"
    val, test = load_coco(dataset / "val.json"), load_coco(dataset / "test.json")
    raw = _predict(Predictor(out), images, val, settings.min_score, workers, "export, val")
    fitted, errors = _calibrate(val, raw)
    artifact = artifact.model_copy(update={"calibration": fitted})
    save_artifact(artifact, out)
    predictor = Predictor(out)
    # The same detections as before, by their new scores.
    least = calibrated_score(settings.min_score, fitted.slope, fitted.offset)
    on_val = _predict(predictor, images, val, least, workers, "export, val, calibrated")
    score = operating_score(val, on_val)
    found = _predict(predictor, images, test, least, workers, "export, test")
    on_test = calibration.judge(test, found)
    achieved, voc = figures(test, found)
    values = achieved | errors | {"calibration_error": calibration.expected_calibration_error(on_test)}
    metrics = {name: round(value, 6) for name, value in values.items() if value == value}
    labels = Counter(
        classes[label] for detections in found.values() for label in detections.labels[detections.scores >= score]
    )
    baseline = Baseline(images=len(test.images), boxes={name: labels[name] for name in classes})
    final = artifact.model_copy(
        update={
            "operating_score": score,
            "least_score": least,
            "class_scores": _class_scores(val, on_val, score),
            "metrics": metrics,
            "class_ap": {result.name: round(result.ap_11point, 6) for result in voc.by_iou[0.5] if result.truths},
            "baseline": baseline,
        }
    )
    save_artifact(final, out)
    curves = {
        "val, before": calibration.judge(val, raw),
        "val": calibration.judge(val, on_val),
        "test": on_test,
    }
    bins = {name: calibration.reliability(judged) for name, judged in curves.items()}
    write_json(out / "reliability.json", {name: [asdict(row) for row in rows] for name, rows in bins.items()})
    draw_reliability(bins).save(out / "reliability.png")
    write_json(out / "metrics.json", {"operating_score": score, **metrics})
