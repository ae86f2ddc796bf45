"""Windows on a grid, the proposals of detectors before Selective Search; they do not depend on the pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detector.runtime.geometry.boxes import Boxes, empty

Windows = NDArray[np.int64]  # (N, 4) xyxy, half-open

# Each scale has half the area of the one before. The first windows are larger than the image and are cut to it; the
# last cover 1/128 of its area.
SCALES = (1.4, 1.0, 0.71, 0.5, 0.35, 0.25, 0.18, 0.125, 0.09)
# The shapes of tall, square and wide objects.
RATIOS = (0.5, 1.0, 2.0)
# A box with the shape of a window is then at most a sixth of a side away from one in each direction, so that their IoU
# is at least about .53, apart from rounding to pixels.
STRIDE = 1 / 3


def count_windows(height: int, width: int) -> int:
    """Return the number of boxes with whole edges and sides of at least 2 pixels in an image of this size.

    It is the sum of (width - w + 1) * (height - h + 1) over all w, h >= 2, about (height * width)**2 / 4, which are too
    many for any detector. It is exact at any size. Raises ValueError if a side is below 1.
    """
    _check_sides(height, width)
    height, width = int(height), int(width)  # NumPy's integers would overflow
    # The sum is a product of two: 1 + 2 + ... + (height - 1), and the same of the width.
    return (height * (height - 1) // 2) * (width * (width - 1) // 2)


def sliding_window(
    height: int,
    width: int,
    max_boxes: int | None = None,
    *,
    scales: Sequence[float] = SCALES,
    ratios: Sequence[float] = RATIOS,
    stride: float = STRIDE,
) -> Boxes:
    """Return windows of several sizes and shapes over an image of `height` x `width` pixels, large ones first.

    scales: the square root of the part of the image that a window covers. Because this is relative to the area and not
        to a side, the number of windows hardly depends on the image's size and shape, such as 1:50 or 1:1.
    ratios: width over height.
    stride: the largest distance of neighbouring windows as a part of their side, rounded to pixels; the first and last
        windows of a grid touch the image's edges.
    max_boxes: the number of windows to keep; None keeps all.

    Returns float32 (N, 4) xyxy, half-open, in whole pixels inside the image, no two equal. A side longer than the
    image's is cut to it, so that a window may be smaller than its scale and have another ratio. Scales come from large
    to small. Within a scale the shapes alternate, and the places of each are in bit-reversed order, so that the first
    windows of the list are always spread over the image. The same arguments give the same boxes.

    Raises ValueError if a side is below 1, there are no scales or ratios, one is not positive and finite, or the stride
    is outside (0, 1].
    """
    _check_sides(height, width)
    for name, values in (("scales", scales), ("ratios", ratios)):
        if not values or not all(math.isfinite(value) and value > 0 for value in values):
            raise ValueError(f"sliding_window takes {name} above 0, at least one, not {tuple(values)}")
    if not 0 < stride <= 1:
        raise ValueError(f"sliding_window takes a stride above 0 and at most 1, not {stride}")
    if max_boxes is not None and max_boxes < 1:
        return empty()

    windows: Windows = np.zeros((0, 4), np.int64)
    for scale in sorted(set(scales), reverse=True):
        side = scale * math.sqrt(height * width)
        sizes = [
            (_limited(side / math.sqrt(ratio), height), _limited(side * math.sqrt(ratio), width)) for ratio in ratios
        ]
        grids = [_grid(height, width, h, w, stride) for h, w in dict.fromkeys(sizes)]
        windows = _without_repeats(np.concatenate([windows, _by_turns(grids)]))
        if max_boxes is not None and len(windows) >= max_boxes:
            break
    return windows[:max_boxes].astype(np.float32)


def _check_sides(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"an image has at least 1x1 pixels, not {height}x{width} (height x width)")


def _limited(side: float, longest: int) -> int:
    """Return a window's side in whole pixels within the image; the comparison avoids rounding huge floats."""
    return longest if side >= longest else max(1, round(side))


def _places(length: int, window: int, stride: float) -> NDArray[np.int64]:
    """Return where windows of `window` pixels begin: evenly from 0 to length - window, each place once."""
    free = length - window
    # Steps below one pixel would repeat places.
    steps = math.ceil(free / max(1.0, stride * window))
    return np.arange(steps + 1) * free // max(1, steps)


def _grid(height: int, width: int, h: int, w: int, stride: float) -> Windows:
    """Return windows of `h` x `w` pixels, (N, 4), in an order that refines the grid step by step."""
    tops, lefts = _places(height, h, stride), _places(width, w, stride)
    down, right = np.meshgrid(np.arange(len(tops)), np.arange(len(lefts)), indexing="ij")
    order = np.argsort(_bit_reversed(down.ravel(), right.ravel()), kind="stable")
    y, x = tops[down.ravel()[order]], lefts[right.ravel()[order]]
    return np.stack([x, y, x + w, y + h], axis=1)


def _bit_reversed(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return keys (N,) of places on a grid: the lowest bits of row and column are the highest of the key.

    In the order of the keys the even rows and columns come before the odd ones, and so on within each: bit reversal
    (van der Corput, 1935) in two dimensions.
    """
    keys = np.zeros_like(rows)
    for bit in range(int(max(rows.max(), columns.max())).bit_length()):
        keys = keys << 2 | (rows >> bit & 1) << 1 | columns >> bit & 1
    return keys


def _by_turns(grids: Sequence[Windows]) -> Windows:
    """Join several lists so that any first part of the result has the same share of each."""
    shares = np.concatenate([np.arange(len(grid)) / len(grid) for grid in grids])
    return np.concatenate(grids)[np.argsort(shares, kind="stable")]


def _without_repeats(windows: Windows) -> Windows:
    """Return the rows in their order, with only the first of equal ones."""
    _, first = np.unique(windows, axis=0, return_index=True)
    return windows[np.sort(first)]
