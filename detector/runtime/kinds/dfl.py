"""NanoDet and PicoDet: distances to the four sides, each as a distribution (generalised focal loss, Li et al. 2020).

The outputs are scores (N, C) and logits (N, 4 x B) for each stride, or one map (N, C + 4 x B) for all. A distance is
the mean of the softmax over B bins, in strides: left, top, right, bottom from the place of the cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat

from detector.common.errors import ArtifactError
from detector.runtime.kinds.graph import Candidates, GraphDetector
from detector.runtime.kinds.grid import places
from detector.runtime.kinds.settings import DecodingSettings, Strides
from detector.runtime.session import Array


class DflDecoding(DecodingSettings):
    """Settings of this kind."""

    kind: Literal["dfl"] = "dfl"
    strides: Strides
    bins: int = Field(default=8, ge=2, description="of each distance")
    cell: FiniteFloat = Field(default=0.5, description="the place of cell i is (i + cell) * stride + shift, in pixels")
    shift: FiniteFloat = 0.0


class Dfl(GraphDetector):
    """A NanoDet or PicoDet graph."""

    decoding: DflDecoding

    def decode(self, outputs: Mapping[str, NDArray[Any]], size: tuple[int, ...]) -> Candidates:
        """See GraphDetector."""
        settings = self.decoding
        found: list[Array] = [value.reshape(value.shape[-2:]).astype(np.float32) for value in outputs.values()]
        sides = 4 * settings.bins
        if len(found) == 1:
            scores, logits = found[0][:, :-sides], found[0][:, -sides:]
        else:
            # Maps of one stride have the same number of cells; the finest comes first, as in the strides.
            maps = sorted(found, key=lambda value: -len(value))
            scores, logits = self._joined(maps[::2]), self._joined(maps[1::2])
            if logits.shape[1] != sides:
                scores, logits = logits, scores
        cells, strides = places(size, settings.strides)
        self.require_rows(len(scores), len(cells))
        self.require_rows(len(logits), len(cells))
        logits = logits.reshape(len(logits), 4, settings.bins)
        weights = np.exp(logits - logits.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        distances = (weights @ np.arange(settings.bins, dtype=np.float32)) * strides
        centres = (cells + np.float32(settings.cell)) * strides + np.float32(settings.shift)
        boxes = np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1)
        return Candidates(scores, boxes[:, None])

    def _joined(self, maps: list[Array]) -> Array:
        if len({value.shape[-1] for value in maps}) != 1:
            raise ArtifactError(f"model.onnx: its outputs are not scores and {4 * self.decoding.bins} logits a cell")
        return np.concatenate(maps)
