"""Converts, clips and compares boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]


def empty() -> Boxes:
    """Return no boxes, float32 (0, 4)."""
    return np.zeros((0, 4), np.float32)


def xywh_to_xyxy(boxes: Boxes) -> Boxes:
    """Return boxes (N, 4) `x1, y1, x2, y2` of (N, 4) `x, y, width, height`."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def xyxy_to_xywh(boxes: Boxes) -> Boxes:
    """Return boxes (N, 4) `x, y, width, height` of (N, 4) `x1, y1, x2, y2`."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def clip(boxes: Boxes, height: int, width: int) -> Boxes:
    """Limit (N, 4) xyxy boxes to an image of `height` x `width` pixels; some may become empty."""
    limit = np.array([width, height, width, height], np.float32)
    return np.clip(np.asarray(boxes, np.float32).reshape(-1, 4), np.float32(0), limit)


def area(boxes: Boxes) -> NDArray[np.float32]:
    """Return the areas (N,) in square pixels of boxes (N, 4) xyxy; an inverted box has area 0."""
    size = np.maximum(boxes[:, 2:] - boxes[:, :2], np.float32(0))  # (N, 2)
    return size[:, 0] * size[:, 1]


def intersection(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Return the overlaps (N, M) in square pixels of boxes (N, 4) and (M, 4) xyxy."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])  # (N, M, 2)
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])  # (N, M, 2)
    size = np.maximum(high - low, np.float32(0))
    return size[..., 0] * size[..., 1]


def iou(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Return the intersections over unions (N, M) of boxes (N, 4) and (M, 4) xyxy; 0 if both are empty."""
    overlap = intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
