"""The table that `detector score` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from detector.common.errors import AnnotationError
from detector.common.progress import progress
from detector.common.tables import aligned_table
from detector.data.annotations import load_coco
from detector.data.frames import are_fractions
from detector.evaluation.average_precision import IOU_THRESHOLDS, evaluate_voc
from detector.evaluation.detections import load_results


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def score_table(truth_path: Path, detections_path: Path, ious: Sequence[float] = IOU_THRESHOLDS) -> str:
    """Return a table of 11-point and all-point AP of each class, and their means, at each IoU threshold.

    truth_path: any COCO ground truth; `ignore` and `iscrowd` count. detections_path: COCO results. A class without
    truths shows "-" and is left out of the mean. Boxes are compared in float64 with the numbers of the files, as
    pycocotools does: an IoU of exactly the threshold counts there and here.
    Raises AnnotationError, which names the file that is wrong, also if the boxes of one file only are fractions.
    """
    with progress(None, 2, "read", "file") as bar:
        truth = load_coco(truth_path, exact=True)
        bar.update()
        detections = load_results(detections_path, truth)
        bar.update()
    fractions = [are_fractions([part.boxes for part in parts]) for parts in (truth.images, detections.values())]
    if any(fractions) and not all(fractions):
        wrong, right = (truth_path, detections_path) if fractions[0] else (detections_path, truth_path)
        raise AnnotationError(
            f"{wrong}: all boxes are fractions of their images (normalised), and those of {right} are not: multiply "
            "them by the width and the height of their images"
        )
    result = evaluate_voc(truth, detections, ious, shown=True)
    rows = [["class", "truths"]]
    rows += [[name, str(result.by_iou[ious[0]][label].truths)] for label, name in enumerate(truth.classes)]
    rows.append(["mean", str(sum(item.truths for item in result.by_iou[ious[0]]))])
    for iou in ious:
        rows[0] += [f"AP11@{iou:g}", f"AP@{iou:g}"]
        for row, item in zip(rows[1:-1], result.by_iou[iou], strict=True):
            row += [_cell(item.ap_11point), _cell(item.ap_all_point)]
        rows[-1] += [_cell(result.map_11point(iou)), _cell(result.map_all_point(iou))]
    head, *lines, mean = aligned_table(rows)
    rule = "-" * len(head)
    return "\n".join([head, rule, *lines, rule, mean])
