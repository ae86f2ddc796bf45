"""YOLOX (Ge et al. 2021): one output, (1, N, 5 + C), raw or decoded in the graph.

A row has x, y, width and height, the objectness, and the probability of each class; the score is their product.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detector.runtime.kinds.graph import Candidates, GraphDetector
from detector.runtime.kinds.grid import from_centres, places
from detector.runtime.kinds.settings import DecodingSettings, Strides


class YoloxDecoding(DecodingSettings):
    """Settings of this kind."""

    kind: Literal["yolox"] = "yolox"
    strides: Strides = (8, 16, 32)
    decoded: bool = Field(default=False, description="whether the graph gives pixels; otherwise offsets in cells")


class Yolox(GraphDetector):
    """A YOLOX graph."""

    decoding: YoloxDecoding

    def decode(self, outputs: Mapping[str, NDArray[Any]], size: tuple[int, ...]) -> Candidates:
        """See GraphDetector."""
        found = self.single(outputs, 2).astype(np.float32)
        centres, sizes = found[:, :2], found[:, 2:4]
        if not self.decoding.decoded:
            cells, strides = places(size, self.decoding.strides)
            self.require_rows(len(found), len(cells))
            centres, sizes = (centres + cells) * strides, np.exp(sizes) * strides
        return Candidates(found[:, 4:5] * found[:, 5:], from_centres(centres, sizes))
