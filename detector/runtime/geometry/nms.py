"""Greedy non-maximum suppression."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.runtime.geometry.boxes import Boxes, area


def nms(
    boxes: Boxes,
    scores: NDArray[np.floating[Any]],
    labels: NDArray[np.int64],
    threshold: float,
    most: int | None = None,
) -> NDArray[np.int64]:
    """Return the indices of the boxes that are kept, best score first and `most` at most; ties keep the input's order.

    boxes: (N, 4) xyxy; scores, labels: (N,). A box is suppressed if its IoU with a better kept box of its label is
    above `threshold`; boxes of different labels never suppress each other.
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    rest = np.argsort(-scores, kind="stable")
    areas = area(boxes)
    kept: list[np.int64] = []
    while len(rest) and len(kept) != most:
        best, rest = rest[0], rest[1:]
        kept.append(best)
        same = labels[rest] == labels[best]
        if same.any():
            rivals = rest[same]
            same[same] = _covered(boxes[best], areas[best], boxes[rivals], areas[rivals], threshold)
            rest = rest[~same]
    return np.array(kept, np.int64)


def _covered(
    box: Boxes, box_area: np.float32, others: Boxes, other_areas: NDArray[np.float32], threshold: float
) -> NDArray[np.bool_]:
    """Return whether each of `others` (N, 4) has an IoU above `threshold` with `box` (4,), without a division."""
    low = np.maximum(box[:2], others[:, :2])  # (N, 2)
    size = np.maximum(np.minimum(box[2:], others[:, 2:]) - low, np.float32(0))
    overlap = size[:, 0] * size[:, 1]
    union = (box_area + other_areas - overlap).astype(np.float64)  # the threshold has no exact float32
    return overlap > threshold * union
