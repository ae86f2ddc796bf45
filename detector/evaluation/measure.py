"""Runs a detector over a dataset and computes the figures of its detections."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from detector.common.progress import progress
from detector.data.annotations import CocoDataset
from detector.evaluation.average_precision import IOU_THRESHOLDS, VocResult, evaluate_voc
from detector.evaluation.coco import evaluate_coco
from detector.evaluation.detections import DetectionSet
from detector.evaluation.localisation import localisation_accuracy
from detector.runtime.postprocess import Detections


def detect_all(
    find: Callable[[int, bytes], Detections],
    folder: Path,
    truth: CocoDataset,
    title: str,
    workers: int = 1,
) -> dict[int, Detections]:
    """Return the results of find(index, encoded image) for every image of the dataset by its id, from `workers`
    threads."""

    def one(index: int) -> Detections:
        return find(index, (folder / truth.images[index].file_name).read_bytes())

    count = len(truth.images)
    with ThreadPoolExecutor(workers) as pool:
        found = list(progress(pool.map(one, range(count)), count, title))
    return {image.id: detections for image, detections in zip(truth.images, found, strict=True)}


def figures(truth: CocoDataset, detections: DetectionSet) -> tuple[dict[str, float], VocResult]:
    """Return the figures, 0..1, and VOC's results with their curves.

    The figures are mean AP by VOC's two rules at each IoU, COCO's summary, and the localisation accuracy.
    """
    voc = evaluate_voc(truth, detections)
    coco = evaluate_coco(truth, detections)
    values: dict[str, float] = {}
    for iou in IOU_THRESHOLDS:
        values[f"map_{iou * 100:.0f}_11point"] = voc.map_11point(iou)
        values[f"map_{iou * 100:.0f}_all_point"] = voc.map_all_point(iou)
    values["localisation_accuracy"] = localisation_accuracy(truth, detections)
    values |= {f"coco_{name}": value for name, value in vars(coco).items()}
    return values, voc
