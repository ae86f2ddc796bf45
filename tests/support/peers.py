"""Small detectors that others trained on COCO, as artifacts with VOC's names.

Their files are not part of this project.
"""

from __future__ import annotations

from pathlib import Path

from detector.data.formats.voc import VOC_CLASSES
from detector.runtime.kinds.dfl import DflDecoding
from detector.runtime.kinds.fastestdet import FastestDetDecoding
from detector.runtime.kinds.yolox import YoloxDecoding
from detector.runtime.preprocess import Preprocessing
from tests.support.graphs import artifact_of

# The numbers of COCO's 80 classes that VOC knows too.
_NUMBERS = {
    0: "person", 1: "bicycle", 2: "car", 3: "motorbike", 4: "aeroplane", 5: "bus", 6: "train", 8: "boat", 14: "bird",
    15: "cat", 16: "dog", 17: "horse", 18: "sheep", 19: "cow", 39: "bottle", 56: "chair", 57: "sofa",
    58: "pottedplant", 60: "diningtable", 62: "tvmonitor",
}  # fmt: skip
_VOC_NAMES = {
    "motorcycle": "motorbike", "airplane": "aeroplane", "couch": "sofa", "potted plant": "pottedplant",
    "dining table": "diningtable", "tv": "tvmonitor",
}  # fmt: skip
_MEAN, _STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)  # ImageNet's, blue first

# The recipes of the projects that made them: preprocessing, decoding, and the IoU of their suppression.
PEERS = {
    "yolox_nano.onnx": (
        Preprocessing(
            resize="letterbox", height=416, width=416, pad=114, channels="BGR", interpolation="linear", rounding="down"
        ),
        YoloxDecoding(),
        0.65,
    ),
    "picodet_s_416_coco.onnx": (
        Preprocessing(
            resize="stretch", height=416, width=416, interpolation="cubic", mean=_MEAN[::-1], std=_STD[::-1]
        ),
        DflDecoding(strides=(8, 16, 32, 64), shift=-0.5),
        0.6,
    ),
    "nanodet_m_416.onnx": (
        Preprocessing(
            resize="letterbox", height=416, width=416, place="centre", interpolation="area", rounding="down",
            channels="BGR", mean=_MEAN, std=_STD,
        ),
        DflDecoding(strides=(8, 16, 32), shift=-0.5),
        0.6,
    ),
    "fastestdet.onnx": (
        Preprocessing(
            resize="stretch", height=352, width=352, interpolation="area", channels="BGR", std=(255, 255, 255)
        ),
        FastestDetDecoding(),
        0.45,
    ),
}  # fmt: skip


def voc_name(name: str) -> str | None:
    """Return VOC's name of a COCO class, or None if VOC has none."""
    known = _VOC_NAMES.get(name, name)
    return known if known in VOC_CLASSES else None


def peer_artifact(file: Path, folder: Path) -> Path:
    """Write the artifact of one of PEERS; classes without a name in VOC are dropped. Returns its folder."""
    preprocessing, decoding, nms_threshold = PEERS[file.name]
    return artifact_of(
        file.read_bytes(), folder, decoding, preprocessing,
        name=file.stem, classes=VOC_CLASSES, graph_classes=tuple(map(_NUMBERS.get, range(80))),
        nms_threshold=nms_threshold, max_detections=100,
    )  # fmt: skip
