"""DETR and its successors (RT-DETR, D-FINE, RF-DETR, Hugging Face): `logits` (1, Q, C) and `pred_boxes` (1, Q, 4).

Boxes are centre and size as fractions of the graph's input. Nothing is suppressed: a query stands for one object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detector.common.errors import ArtifactError
from detector.runtime.kinds.graph import Candidates, GraphDetector
from detector.runtime.kinds.grid import from_centres
from detector.runtime.kinds.settings import DecodingSettings
from detector.runtime.scores import ABSENT


class DetrDecoding(DecodingSettings):
    """Settings of this kind."""

    kind: Literal["detr"] = "detr"
    activation: Literal["sigmoid", "softmax"] = Field(
        default="sigmoid",
        description="of the logits; softmax: the last one means that there is no object, and a box has its "
        "best label only (DETR)",
    )


class Detr(GraphDetector):
    """A DETR graph."""

    decoding: DetrDecoding

    def decode(self, outputs: Mapping[str, NDArray[Any]], size: tuple[int, ...]) -> Candidates:
        """See GraphDetector."""
        logits, boxes = detr_outputs(list(outputs), [list(value.shape) for value in outputs.values()])
        scores = outputs[logits][0].astype(np.float32)
        if self.decoding.activation == "softmax":
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores = (scores / scores.sum(axis=1, keepdims=True))[:, :-1]
            scores = np.where(scores == scores.max(axis=1, keepdims=True), scores, ABSENT)
        else:
            scores = 1 / (1 + np.exp(-scores))
        found = outputs[boxes][0].astype(np.float32) * np.array([size[1], size[0]] * 2, np.float32)
        return Candidates(scores, from_centres(found[:, :2], found[:, 2:]))


_BOXES, _LOGITS = ("pred_boxes", "dets"), ("logits", "labels")


def detr_outputs(names: list[str], shapes: list[list[Any]]) -> tuple[str, str]:
    """Return the names of the outputs with logits and with boxes; raises ArtifactError where there are none."""
    maps = [name for name, shape in zip(names, shapes, strict=True) if len(shape) == 3]
    fours = [name for name, shape in zip(names, shapes, strict=True) if len(shape) == 3 and shape[2] == 4]
    # The names of Hugging Face and of RF-DETR first: other outputs, such as features, may stand before them.
    unnamed = [name for name in fours if name not in _LOGITS]
    boxes = next((name for name in [*_BOXES, *unnamed] if name in fours), None)
    logits = next((name for name in [*_LOGITS, *maps] if name in maps and name != boxes), None)
    if boxes is None or logits is None:
        raise ArtifactError(f"model.onnx: its outputs {names} are not logits and boxes of a DETR")
    return logits, boxes
