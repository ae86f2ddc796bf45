"""The source of proposals of each member of the detector family."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detector.proposals.selective_search import Mode, selective_search
from detector.proposals.sliding_window import sliding_window
from detector.runtime.geometry.boxes import Boxes

Method = Literal["selective_search", "sliding_window"]

# The method by `model.name`; None means that the network makes its own boxes.
METHODS: dict[str, Method | None] = {
    "single_object": None,
    "sliding_window": "sliding_window",
    "rcnn": "selective_search",
    "fast_rcnn": "selective_search",
    "faster_rcnn": None,
    "cascade_rcnn": None,
}


def find_proposals(pixels: NDArray[np.uint8], method: Method, max_boxes: int, mode: Mode) -> Boxes:
    """Return proposals float32 (N, 4) xyxy in pixels, N <= max_boxes, best first, or largest first for windows.

    pixels: uint8 RGB (H, W, 3); mode: the mode of Selective Search.
    """
    if method == "sliding_window":
        return sliding_window(pixels.shape[0], pixels.shape[1], max_boxes)
    return selective_search(pixels, max_boxes, mode)
