"""The table that `detector score` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from detector.data.annotations import load_coco
from detector.evaluation.average_precision import IOU_THRESHOLDS, evaluate_voc
from detector.evaluation.detections import load_results


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def score_table(truth_path: Path, detections_path: Path, ious: Sequence[float] = IOU_THRESHOLDS) -> str:
    """11-point and all-point AP of each class and their means, at each IoU threshold, as lines of text.

    truth_path: any COCO ground truth (`ignore` and `iscrowd` count); detections_path: COCO results. A class without
    truths shows "-" and is left out of the mean. Raises AnnotationError naming the file that is wrong.
    """
    truth = load_coco(truth_path)
    result = evaluate_voc(truth, load_results(detections_path, truth), ious)
    header = ["class", "truths"]
    rows = [[name, str(result.by_iou[ious[0]][label].truths)] for label, name in enumerate(truth.classes)]
    mean = ["mean", str(sum(item.truths for item in result.by_iou[ious[0]]))]
    for iou in ious:
        header += [f"AP11@{iou:g}", f"AP@{iou:g}"]
        for row, item in zip(rows, result.by_iou[iou], strict=True):
            row += [_cell(item.ap_11point), _cell(item.ap_all_point)]
        mean += [_cell(result.map_11point(iou)), _cell(result.map_all_point(iou))]
    table = [header, *rows, mean]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])
