"""The presets: how the projects that made a model prepare its images, and what they do with its outputs.

A preset names a kind of graph with its preprocessing and suppression. All values stand in each project's own public
inference code; four of them were held against real files (see docs/models.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from detector.runtime.preprocess import own_preprocessing

Values = dict[str, Any]

# The mean and standard deviation of ImageNet's images, in red, green, blue, 0 to 255.
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_UNIT = (255.0, 255.0, 255.0)  # divides values by 255
_BGR = {"channels": "BGR", "mean": _MEAN[::-1], "std": _STD[::-1]}
_NANODET = {"resize": "letterbox", "place": "centre", "interpolation": "area", "rounding": "down", **_BGR}
_IMAGENET = {"channels": "RGB", "mean": _MEAN, "std": _STD}
_PLAIN = {"channels": "RGB", "mean": (0.0, 0.0, 0.0), "std": _UNIT}


@dataclass(frozen=True)
class Preset:
    """Values of `preprocessing` and `decoding` in model.json, apart from what the graph itself decides.

    size: height and width where the graph leaves them open; fixed: other values of `preprocessing` where it does not.
    """

    about: str
    kind: str
    preprocessing: Values
    nms_threshold: float | None
    decoding: Values = field(default_factory=dict)
    size: tuple[int, int] = (640, 640)
    fixed: Values = field(default_factory=dict)


PRESETS: Mapping[str, Preset] = {
    "yolox": Preset(
        "YOLOX (Megvii)",
        "yolox",
        {"resize": "letterbox", "pad": 114.0, "channels": "BGR", "interpolation": "linear", "rounding": "down"},
        0.65,
    ),
    "ultralytics": Preset(
        "YOLOv5 and later of Ultralytics, YOLOv6 and YOLOv7",
        "yolo",
        {"resize": "letterbox", "place": "centre", "pad": 114.0, "interpolation": "linear", **_PLAIN},
        0.7,
    ),
    "picodet": Preset(
        "PicoDet (PaddleDetection)",
        "dfl",
        {"resize": "stretch", "interpolation": "cubic", **_IMAGENET},
        0.6,
        {"shift": -0.5},
        size=(416, 416),
    ),
    "nanodet": Preset("NanoDet", "dfl", _NANODET, 0.6, {"shift": -0.5}, size=(320, 320)),
    "nanodet-plus": Preset("NanoDet-Plus", "dfl", _NANODET, 0.6, {"cell": 0.0}, size=(416, 416)),
    "fastestdet": Preset(
        "FastestDet",
        "fastestdet",
        {"resize": "stretch", "interpolation": "area", "channels": "BGR", "std": _UNIT},
        0.45,
        size=(352, 352),
    ),
    "rtdetr": Preset(
        "RT-DETR and D-FINE",
        "detr",
        {"resize": "stretch", "interpolation": "bilinear", **_PLAIN},
        None,
    ),
    "rfdetr": Preset(
        "RF-DETR",
        "detr",
        {"resize": "stretch", "interpolation": "bilinear", **_IMAGENET},
        None,
        size=(560, 560),
    ),
    # DETR's own rule is 800 pixels for the shorter side; on images of 4:3 that is 1066 for the longer one.
    "detr": Preset(
        "DETR, Conditional DETR and Deformable DETR",
        "detr",
        {"resize": "long_side", "interpolation": "bilinear", **_IMAGENET},
        None,
        size=(1066, 1066),
        fixed={"resize": "stretch"},
    ),
    "torchvision": Preset(
        "torchvision's Faster R-CNN, RetinaNet, FCOS and SSD",
        "torchvision",
        {"resize": "none", **_PLAIN},
        None,
        fixed={"resize": "letterbox"},
    ),
    "rcnn": Preset(
        "Boxcar's own graphs, of `detector evaluate`",
        "rcnn",
        own_preprocessing(400).model_dump(exclude={"height", "width"}),
        0.4,
        size=(400, 400),
    ),
}
