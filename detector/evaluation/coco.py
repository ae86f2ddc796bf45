"""COCO's average precision, through faster-coco-eval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster  # type: ignore[import-untyped]

from detector.data.annotations import CocoDataset
from detector.evaluation.detections import DetectionSet, check_detections


@dataclass(frozen=True)
class CocoResult:
    """The summary of the COCO challenge, 0..1; NaN where no truth is to be found (no small object, say).

    ap: mean over IoU .5, .55, ..., .95; ap_small, ap_medium, ap_large: boxes below 32^2, below 96^2 and larger;
    ar_100: recall with at most 100 detections an image, over the same thresholds.
    """

    ap: float
    ap_50: float
    ap_75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar_100: float


class _KeepsIgnore(COCOeval_faster):  # type: ignore[misc]
    """The evaluator overwrites `ignore` with `iscrowd`, as pycocotools does: difficult truths would count as misses."""

    def _prepare(self) -> None:
        wanted = {number: int(truth["ignore"] or truth["iscrowd"]) for number, truth in self.cocoGt.anns.items()}
        super()._prepare()
        self.gt_dataset.clean()  # filled with the overwritten values
        for number, truth in self.cocoGt.anns.items():
            truth["ignore"] = wanted[number]
            self.gt_dataset.append_ref(truth["image_id"], truth["category_id"], truth)


def _entry(number: int, image_id: int, label: int, box: Sequence[float]) -> dict[str, Any]:
    width, height = box[2] - box[0], box[3] - box[1]
    return {
        "id": number,
        "image_id": image_id,
        "category_id": label + 1,
        "bbox": [box[0], box[1], width, height],
        "area": width * height,
    }


def evaluate_coco(truth: CocoDataset, detections: DetectionSet) -> CocoResult:
    """COCO's AP and AR; no detections at all give zeros. Areas are those of the boxes.

    Raises AnnotationError: an image or label not in `truth`.
    """
    check_detections(truth, detections)
    document: dict[str, list[dict[str, Any]]] = {
        "images": [{"id": image.id, "width": image.width, "height": image.height} for image in truth.images],
        "categories": [{"id": label + 1, "name": name} for label, name in enumerate(truth.classes)],
        "annotations": [],
    }
    for image in truth.images:
        for box, label, ignore, crowd in zip(
            image.boxes.astype(np.float64).tolist(), image.labels.tolist(), image.ignore, image.crowd, strict=True
        ):
            entry = _entry(len(document["annotations"]) + 1, image.id, label, box)
            document["annotations"].append(entry | {"ignore": int(ignore), "iscrowd": int(crowd)})
    # Not loadRes, which fails on no detections at all.
    found = document | {"annotations": []}
    for image in truth.images:
        mine = detections.get(image.id)
        if mine is None:
            continue
        for box, score, label in zip(
            mine.boxes.astype(np.float64).tolist(), mine.scores.tolist(), mine.labels.tolist(), strict=True
        ):
            entry = _entry(len(found["annotations"]) + 1, image.id, label, box)
            found["annotations"].append(entry | {"score": score, "iscrowd": 0})
    evaluator = _KeepsIgnore(COCO(document), COCO(found), "bbox")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    # -1 is COCO's word for "no truth here".
    stats = [float(value) if value >= 0 else float("nan") for value in evaluator.stats]
    ap, ap_50, ap_75, ap_small, ap_medium, ap_large = stats[:6]
    return CocoResult(ap, ap_50, ap_75, ap_small, ap_medium, ap_large, ar_100=stats[8])
