"""The kinds of graphs: how the outputs of each become boxes and scores.

To add one, write a file here with its settings and its class, and name both below.
"""

from typing import Annotated

from pydantic import Field

from detector.runtime.kinds.detr import Detr, DetrDecoding
from detector.runtime.kinds.dfl import Dfl, DflDecoding
from detector.runtime.kinds.fastestdet import FastestDet, FastestDetDecoding
from detector.runtime.kinds.graph import Candidates, GraphDetector
from detector.runtime.kinds.rcnn import Rcnn, RcnnDecoding
from detector.runtime.kinds.torchvision import Torchvision, TorchvisionDecoding
from detector.runtime.kinds.yolo import Yolo, YoloDecoding
from detector.runtime.kinds.yolox import Yolox, YoloxDecoding

KINDS: dict[str, type[GraphDetector]] = {
    "rcnn": Rcnn,
    "yolo": Yolo,
    "yolox": Yolox,
    "dfl": Dfl,
    "fastestdet": FastestDet,
    "detr": Detr,
    "torchvision": Torchvision,
}
Decoding = Annotated[
    RcnnDecoding | YoloDecoding | YoloxDecoding | DflDecoding | FastestDetDecoding | DetrDecoding | TorchvisionDecoding,
    Field(discriminator="kind"),
]

__all__ = ["KINDS", "Candidates", "Decoding", "GraphDetector"]
