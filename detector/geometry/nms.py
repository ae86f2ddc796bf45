"""Greedy non-maximum suppression."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.compiled import compiled
from detector.geometry.boxes import Boxes


@compiled
def _suppress(boxes: Boxes, labels: NDArray[np.int64], order: NDArray[np.int64], threshold: float) -> NDArray[np.bool_]:
    count = len(order)
    kept = np.ones(count, np.bool_)
    for a in range(count):
        i = order[a]
        if not kept[i]:
            continue
        area_i = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
        for b in range(a + 1, count):
            j = order[b]
            if not kept[j] or labels[i] != labels[j]:
                continue
            width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            if width <= 0 or height <= 0:
                continue
            area_j = (boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1])
            overlap = width * height
            if overlap > threshold * (area_i + area_j - overlap):
                kept[j] = False
    return kept


def nms(
    boxes: Boxes, scores: NDArray[np.floating[Any]], labels: NDArray[np.int64], threshold: float
) -> NDArray[np.int64]:
    """Indices of the boxes that survive, best score first; ties keep the input's order.

    boxes (N, 4) xyxy, scores (N,), labels (N,): boxes of different labels never suppress each other. A box is
    suppressed when its IoU with a better kept box of its label is above `threshold`.
    """
    order = np.argsort(-scores, kind="stable")
    kept = _suppress(np.ascontiguousarray(boxes, np.float32), np.ascontiguousarray(labels, np.int64), order, threshold)
    survivors: NDArray[np.int64] = order[kept[order]]
    return survivors
