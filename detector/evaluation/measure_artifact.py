"""Calibrates an artifact on one split and measures it on another: the figures of `model.json`, wherever it comes from.

The graph runs in the same runtime as in the batch job.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.common.progress import progress
from detector.data.annotations import CocoDataset, ImageInfo
from detector.evaluation import calibration
from detector.evaluation.average_precision import VocResult
from detector.evaluation.detections import DetectionSet
from detector.evaluation.measure import detect_all, figures
from detector.evaluation.thresholds import choose_scores
from detector.runtime.artifact import MODEL_FILE, Artifact, Baseline, Calibration, PixelBaseline, save_artifact
from detector.runtime.baseline import Histograms
from detector.runtime.detector import Detector, open_detector, read_for
from detector.runtime.geometry.boxes import area
from detector.runtime.image_quality import read_and_measure
from detector.runtime.images import frame_size
from detector.runtime.pixel_counts import CountedImage, PixelCounts, counted_image
from detector.runtime.postprocess import Detections, calibrate, calibrated_score, rounded
from detector.runtime.reading import Reading


@dataclass(frozen=True)
class Measured:
    """artifact: the description with calibration, thresholds and figures; found: the detections on test; curves: right
    and wrong detections on val, before and after calibration, and on test; seconds: of each step and image on test."""

    artifact: Artifact
    found: dict[int, Detections]
    voc: VocResult
    curves: dict[str, calibration.Judged]
    seconds: dict[str, list[float]]


def measure_artifact(
    draft: Artifact,
    graph: Path,
    images: Path,
    val: CocoDataset,
    test: CocoDataset,
    title: str,
    workers: int = 1,
    proposed: Mapping[str, float] | None = None,
    device: str = "cpu",
) -> Measured:
    """Choose calibration and thresholds on val, and measure the result on test, in `workers` threads.

    draft: the description, whose classes are those of both splits, in their order; images: the folder of both; title:
    of the progress bars; proposed: figures of the proposals on test, which the description gets too; device: as
    `Session` takes it.
    """
    raw, _ = _detect(draft, graph, images, val, f"{title}, val", workers, device)
    draft, on_val = _choose(draft, val, raw)
    found, seconds = _detect(draft, graph, images, test, f"{title}, test", workers, device)
    pixels = count_pixels(test, images, f"{title}, pixels", workers)
    curves = {
        "val, before calibration": calibration.judge(val, raw),
        "val": calibration.judge(val, on_val),
        "test": calibration.judge(test, found),
    }
    achieved, voc = figures(test, found)
    values = achieved | dict(proposed or {}) | _calibration_errors(curves, draft.operating_score)
    described = {
        "metrics": {name: round(value, 6) for name, value in values.items() if value == value},  # without NaN
        "class_ap": {result.name: round(result.ap_11point, 6) for result in voc.by_iou[0.5] if result.truths},
        "baseline": _baseline(test, found).model_copy(update={"pixels": pixels}),
    }
    return Measured(draft.model_copy(update=described), found, voc, curves, seconds)


def _detect(
    artifact: Artifact, graph: Path, images: Path, truth: CocoDataset, title: str, workers: int, device: str
) -> tuple[dict[int, Detections], dict[str, list[float]]]:
    """Return the detections of every image from the artifact's least score on, and the wall times of each step."""
    seconds: dict[str, list[float]] = defaultdict(list)
    with _opened(artifact, graph, device) as detector:

        def find(_: int, data: bytes) -> Detections:
            batch = detector.detect([read_for(detector, data)], min_score=artifact.least_score)
            for step, took in batch.seconds.items():
                seconds[step].append(took)
            return batch.detections[0]

        return detect_all(find, images, truth, title, workers), seconds


@contextmanager
def _opened(artifact: Artifact, graph: Path, device: str) -> Iterator[Detector]:
    """Give the batch job's runtime for a graph whose description is not finished."""
    with tempfile.TemporaryDirectory(prefix="boxcar-") as folder:
        Path(folder, MODEL_FILE).symlink_to(graph.resolve())
        save_artifact(artifact, Path(folder))
        yield open_detector(Path(folder), device)


def _choose(draft: Artifact, val: CocoDataset, raw: DetectionSet) -> tuple[Artifact, dict[int, Detections]]:
    """Return the description with calibration and thresholds fitted on val, and val's calibrated detections."""
    slope, offset = calibration.fit(calibration.judge(val, raw))
    on_val = {
        image: Detections(own.boxes, rounded(calibrate(own.scores, slope, offset)), own.labels)
        for image, own in raw.items()
    }
    scores = choose_scores(val, on_val)
    chosen = {
        "calibration": Calibration(slope=slope, offset=offset),
        "least_score": calibrated_score(draft.least_score, slope, offset),
        "operating_score": scores.operating,
        "class_scores": scores.by_class,
    }
    return draft.model_copy(update=chosen), on_val


def _calibration_errors(curves: dict[str, calibration.Judged], score: float) -> dict[str, float]:
    error = calibration.expected_calibration_error
    return {
        "val_calibration_error_before": error(curves["val, before calibration"]),
        "val_calibration_error": error(curves["val"]),
        "calibration_error": error(curves["test"]),
        "calibration_error_operating": error(curves["test"], score),
    }


def count_pixels(dataset: CocoDataset, folder: Path, title: str, workers: int = 1) -> PixelBaseline:
    """Count what the pixels of a dataset's images are like, in `workers` threads.

    folder: that of the images; title: of the progress bar.
    """

    def count(image: ImageInfo) -> CountedImage | None:
        data = (folder / image.file_name).read_bytes()
        height, width = frame_size(data)
        read = read_and_measure(data, Reading(height, width, None))
        return counted_image(image.file_name, read.quality, height, width)

    counts = PixelCounts()
    with ThreadPoolExecutor(workers) as pool:
        counts.add(list(progress(pool.map(count, dataset.images), len(dataset.images), title)))
    return counts.baseline()


def _baseline(test: CocoDataset, found: DetectionSet) -> Baseline:
    """Count all measured detections, so that a run can be compared at any threshold from the least score on."""
    seen = Histograms(len(test.classes))
    for image in test.images:
        own = found[image.id]
        seen.add(own.labels, own.scores, area(own.boxes).astype(np.float64) / (image.width * image.height))
    return Baseline(
        images=len(test.images),
        boxes=dict(zip(test.classes, seen.boxes.tolist(), strict=True)),
        sizes=seen.sizes.tolist(),
    )
