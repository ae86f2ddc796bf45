"""Measures COCO's average precision with faster-coco-eval."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster  # type: ignore[import-untyped]
from numpy.typing import NDArray

from detector.data.annotations import CocoDataset
from detector.evaluation.detections import DetectionSet, check_detections
from detector.runtime.geometry.boxes import Boxes


@dataclass(frozen=True)
class CocoResult:
    """The summary of the COCO challenge, 0..1; a figure is NaN if no truth belongs to it, such as no small object.

    ap: mean over IoU .5, .55, ..., .95; ap_small, ap_medium, ap_large: for boxes below 32^2 pixels, from there to 96^2,
    and larger; ar_100: recall with at most 100 detections per image, mean over the same thresholds.
    """

    ap: float
    ap_50: float
    ap_75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar_100: float


class _KeepsIgnore(COCOeval_faster):  # type: ignore[misc]
    """An evaluator that keeps `ignore`.

    The original overwrites it with `iscrowd`, as pycocotools does, and difficult truths would count as misses.
    """

    def _prepare(self) -> None:
        wanted = {number: int(truth["ignore"] or truth["iscrowd"]) for number, truth in self.cocoGt.anns.items()}
        super()._prepare()
        self.gt_dataset.clean()  # filled with the overwritten values
        for number, truth in self.cocoGt.anns.items():
            truth["ignore"] = wanted[number]
            self.gt_dataset.append_ref(truth["image_id"], truth["category_id"], truth)


def _entries(images: Iterable[tuple[int, Boxes, NDArray[np.int64], list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Return COCO annotations of the boxes of all images, given as (image id, boxes, labels, further keys of each)."""
    entries: list[dict[str, Any]] = []
    for image_id, boxes, labels, more in images:
        for (x1, y1, x2, y2), label, keys in zip(boxes.astype(np.float64).tolist(), labels.tolist(), more, strict=True):
            entries.append({
                "id": len(entries) + 1, "image_id": image_id, "category_id": label + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), **keys,
            })  # fmt: skip
    return entries


def evaluate_coco(truth: CocoDataset, detections: DetectionSet) -> CocoResult:
    """Return COCO's AP and AR, which are zero without detections. Areas are those of the boxes.

    Raises AnnotationError if `truth` does not list an image or a label.
    """
    check_detections(truth, detections)
    document = {
        "images": [{"id": image.id, "width": image.width, "height": image.height} for image in truth.images],
        "categories": [{"id": label + 1, "name": name} for label, name in enumerate(truth.classes)],
    }
    wanted = _entries(
        (
            image.id,
            image.boxes,
            image.labels,
            [{"ignore": int(i), "iscrowd": int(c)} for i, c in zip(image.ignore, image.crowd, strict=True)],
        )
        for image in truth.images
    )
    found = _entries(
        (image.id, own.boxes, own.labels, [{"score": score, "iscrowd": 0} for score in own.scores.tolist()])
        for image in truth.images
        if (own := detections.get(image.id)) is not None
    )
    # `loadRes` is not used, because it fails if there are no detections at all.
    truths, results = COCO({**document, "annotations": wanted}), COCO({**document, "annotations": found})
    evaluator = _KeepsIgnore(truths, results, "bbox")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    # COCO gives -1 where there is no truth.
    stats = [float(value) if value >= 0 else float("nan") for value in evaluator.stats]
    return CocoResult(*(stats[number] for number in (0, 1, 2, 3, 4, 5, 8)))
