"""torchvision's detectors (Faster R-CNN, RetinaNet, FCOS, SSD): `boxes` (N, 4), `labels` (N,) and `scores` (N,).

The graph resizes, normalises and suppresses by itself; boxes are xyxy in pixels of its input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from numpy.typing import NDArray
from pydantic import Field

from detector.common.errors import ArtifactError
from detector.runtime.kinds.graph import Candidates, GraphDetector
from detector.runtime.kinds.settings import DecodingSettings


class TorchvisionDecoding(DecodingSettings):
    """Settings of this kind."""

    kind: Literal["torchvision"] = "torchvision"
    first_label: int = Field(default=1, ge=0, description="number of the first class; 1 where 0 is the background")


class Torchvision(GraphDetector):
    """A graph of a torchvision detector."""

    decoding: TorchvisionDecoding

    def decode(self, outputs: Mapping[str, NDArray[Any]], size: tuple[int, ...]) -> Candidates:
        """See GraphDetector. Outputs may have any names: boxes have two axes, and labels are whole numbers."""
        values = list(outputs.values())
        boxes = [value for value in values if value.ndim == 2 and value.shape[1] == 4]
        labels = [value for value in values if value.ndim == 1 and value.dtype.kind in "iu"]
        scores = [value for value in values if value.ndim == 1 and value.dtype.kind == "f"]
        if not len(boxes) == len(labels) == len(scores) == 1:
            raise ArtifactError(f"model.onnx: its outputs {list(outputs)} are not boxes, labels and scores")
        return self.labelled(boxes[0], scores[0], labels[0] - self.decoding.first_label)
