"""Selective Search (Uijlings, van de Sande, Gevers and Smeulders, IJCV 2013).

The image is segmented in several colour spaces and at several scales; each segmentation is grouped by several
similarities; the boxes of all regions of all groupings are the proposals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.geometry.boxes import Boxes, clip, empty
from detector.proposals import colour, grouping, regions, segmentation

Pixels = NDArray[np.uint8]

# The search runs on a picture with this longer side: its cost stops growing with the photograph's size.
WORKING_SIDE = 320
# Felzenszwalb and Huttenlocher's k: the smaller one finds parts, the larger one things.
SCALES = (100.0, 200.0)
# Regions of fewer pixels (at WORKING_SIDE) are joined to a neighbour before grouping.
MIN_REGION = 20
COLOUR_SPACES = (colour.to_lab, colour.to_hsv)
# Colour, texture, size, fill: which measures add up to a strategy's similarity.
STRATEGIES = ((True, True, True, True), (True, False, True, True), (False, False, False, True))
# Boxes whose centres and sides differ by less than this share of their sides are near-equal: the first is ranked early.
_CELL = 0.15


def _rank(boxes: NDArray[np.int32], levels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Order boxes by level, those unlike any before them first: boxes (N, 4), levels (N,) -> order (M,), M <= N.

    Equal boxes are kept once. Of near-equal ones (one cell of a grid that grows with the box) the second follows after
    the firsts of all cells, the third after all seconds, and so on.
    """
    order = np.argsort(levels, kind="stable")
    x1, y1, x2, y2 = boxes[order].astype(np.int64).T
    _, first = np.unique(((x1 * 65536 + y1) * 65536 + x2) * 32768 + y2, return_index=True)
    first.sort()
    sides = np.stack([x2 - x1, y2 - y1], axis=1)[first]
    steps = np.rint(np.log(sides) / _CELL)  # sides in equal factors
    centres = np.floor(np.stack([x1 + x2, y1 + y2], axis=1)[first] / (2 * _CELL * np.exp(steps * _CELL)))
    cells = np.concatenate([steps, centres], axis=1).astype(np.int64)
    near = ((cells[:, 0] * 65536 + cells[:, 1]) * 65536 + cells[:, 2]) * 32768 + cells[:, 3]
    by_cell = np.argsort(near, kind="stable")
    starts = np.flatnonzero(np.diff(near[by_cell], prepend=-1))
    rounds = np.empty(len(near), np.int64)
    rounds[by_cell] = np.arange(len(near)) - np.repeat(starts, np.diff(starts, append=len(near)))
    ranked: NDArray[np.int64] = order[first][np.argsort(rounds, kind="stable")]
    return ranked


def _candidates(rgb: Pixels) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """All boxes int32 (N, 4) and levels int32 (N,) of a small picture; level 1 is the whole picture, grouped last."""
    height, width = rgb.shape[:2]
    smooth = colour.blur(rgb)
    codes = regions.texture_codes(smooth)
    boxes, levels = [], []
    for convert in COLOUR_SPACES:
        colours = convert(smooth)
        edges, weights = segmentation.sorted_edges(colours)
        for k in SCALES:
            labels, count = segmentation.segment(edges, weights, height, width, np.float32(k), MIN_REGION)
            size, box, histogram = regions.describe(labels, count, colours, codes)
            pairs = regions.neighbours(labels, count)
            for use in STRATEGIES:
                found = grouping.group(size, box, histogram, pairs, np.float32(height * width), np.array(use))
                boxes.append(found)
                levels.append(np.arange(len(found), 0, -1, dtype=np.int32))
    return np.concatenate(boxes), np.concatenate(levels)


def selective_search(image: Pixels, max_boxes: int = 2000) -> Boxes:
    """Propose boxes that may hold an object, best first.

    image: uint8 RGB (H, W, 3), any size from 1x1. Returns float32 (N, 4) xyxy in the image's pixels, half-open
    (0 <= x1 < x2 <= W), N <= max_boxes, no two equal. The same pixels give the same boxes on every call and in every
    thread; thread-safe.

    Raises ValueError for an array of another shape or dtype.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"selective_search takes uint8 RGB (H, W, 3), not {image.dtype} {image.shape}")
    if max_boxes < 1:
        return empty()
    height, width = image.shape[:2]
    factor = min(1.0, WORKING_SIDE / max(height, width))
    small_width, small_height = max(1, round(width * factor)), max(1, round(height * factor))
    rgb = np.ascontiguousarray(image)
    if (small_width, small_height) != (width, height):
        small = Image.fromarray(rgb).resize((small_width, small_height), Image.Resampling.BILINEAR)
        rgb = np.asarray(small)
    boxes, levels = _candidates(rgb)
    best = boxes[_rank(boxes, levels)[:max_boxes]]
    back = np.array([width / small_width, height / small_height] * 2, np.float32)
    return clip(best.astype(np.float32) * back, height, width)
