"""The layouts of Ultralytics' exports; pixels of the graph's input in all of them.

objectness: (1, N, 5 + C) of v5 and v7: centre, size, objectness, probabilities; the score is their product.
transposed: (1, 4 + C, N) of v8 and later: centre, size, probabilities. end_to_end: (1, K, 6), after suppression: two
corners, score, label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detector.runtime.kinds.graph import Candidates, GraphDetector
from detector.runtime.kinds.grid import from_centres
from detector.runtime.kinds.settings import DecodingSettings


class YoloDecoding(DecodingSettings):
    """Settings of this kind."""

    kind: Literal["yolo"] = "yolo"
    layout: Literal["objectness", "transposed", "end_to_end"]


class Yolo(GraphDetector):
    """A graph that Ultralytics' tools exported."""

    decoding: YoloDecoding

    def decode(self, outputs: Mapping[str, NDArray[Any]], size: tuple[int, ...]) -> Candidates:
        """See GraphDetector."""
        found = self.single(outputs, 2).astype(np.float32)
        if self.decoding.layout == "end_to_end":
            return self.labelled(found[:, :4], found[:, 4], found[:, 5])
        if self.decoding.layout == "transposed":
            found = found.T
            return Candidates(found[:, 4:], from_centres(found[:, :2], found[:, 2:4]))
        return Candidates(found[:, 4:5] * found[:, 5:], from_centres(found[:, :2], found[:, 2:4]))
