"""The places of a graph's feature maps, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def places(size: tuple[int, ...], strides: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return x and y of every cell, float32 (N, 2), and its stride, float32 (N, 1).

    size: (height, width) of the graph's input. Maps come in the order of the strides, cells row by row; a side that is
    not a multiple of the stride is rounded up.
    """
    cells, steps = [], []
    for stride in strides:
        rows, columns = (-(-side // stride) for side in size)
        y, x = np.mgrid[:rows, :columns]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        steps.append(np.full((rows * columns, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(steps).astype(np.float32)


def from_centres(centres: NDArray[np.float32], sizes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return boxes (N, 1, 4) xyxy from centres (N, 2) and sizes (N, 2), x before y, as all classes share them."""
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)[:, None]
