"""Whether boxes of one label overlap so much that non-maximum suppression would have left only one of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def suppressible(
    images: NDArray[np.int64], labels: NDArray[np.int64], boxes: NDArray[np.float32], threshold: float, most: int
) -> NDArray[np.bool_]:
    """Boxes (N, 4) xyxy of images (N,) with labels (N,), the best first within an image -> (N,) bool: whether one of
    the `most` - 1 boxes before it of the same image and label overlaps it by more than `threshold` (IoU).

    Computed in single precision with the same comparison as `detector.runtime.geometry.nms`, so that no box which that
    function kept is found here.
    """
    order = np.lexsort((labels, images))  # this is stable: within a group the best score stays first
    found = np.zeros(len(order), np.bool_)
    if not len(order):
        return found
    images, labels, boxes = images[order], labels[order], boxes[order]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    # Compare each box with the next one of its group, then with the second next, and so on to the end of the longest
    # group.
    left = np.arange(len(order) - 1)
    step = 1
    while len(left) and step < most:  # an image with more boxes breaks another rule, and all its pairs would take hours
        right = left + step
        same = (images[left] == images[right]) & (labels[left] == labels[right])
        left, right = left[same], right[same]
        low = np.maximum(boxes[left, :2], boxes[right, :2])
        size = np.maximum(np.minimum(boxes[left, 2:], boxes[right, 2:]) - low, np.float32(0))
        overlap = size[:, 0] * size[:, 1]
        union = areas[left] + areas[right] - overlap
        found[order[right[overlap.astype(np.float64) > threshold * union.astype(np.float64)]]] = True
        step += 1
        left = left[left + step < len(order)]
    return found
