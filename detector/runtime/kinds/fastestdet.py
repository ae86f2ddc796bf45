"""FastestDet: one map (1, 5 + C, H, W) of objectness, four numbers of a box, and the probability of each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detector.runtime.kinds.graph import Candidates, GraphDetector
from detector.runtime.kinds.grid import from_centres
from detector.runtime.kinds.settings import DecodingSettings

# The project's own weights of objectness and class in the score.
_OBJECT, _CLASS = np.float32(0.6), np.float32(0.4)


class FastestDetDecoding(DecodingSettings):
    """Settings of this kind."""

    kind: Literal["fastestdet"] = "fastestdet"


class FastestDet(GraphDetector):
    """A FastestDet graph."""

    def decode(self, outputs: Mapping[str, NDArray[Any]], size: tuple[int, ...]) -> Candidates:
        """See GraphDetector."""
        found = self.single(outputs, 3).astype(np.float32)
        _, rows, columns = found.shape
        found = found.reshape(len(found), -1).T  # (H x W, 5 + C)
        y, x = (axis.ravel().astype(np.float32) for axis in np.mgrid[:rows, :columns])
        step = np.array([size[1] / columns, size[0] / rows], np.float32)
        centres = (np.stack([x, y], axis=1) + np.tanh(found[:, 1:3])) * step
        sizes = np.array([size[1], size[0]], np.float32) / (1 + np.exp(-found[:, 3:5]))
        return Candidates(found[:, :1] ** _OBJECT * found[:, 5:] ** _CLASS, from_centres(centres, sizes))
