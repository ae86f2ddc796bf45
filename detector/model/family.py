"""The members of the detector family by name."""

from __future__ import annotations

from collections.abc import Callable

from detector.model.cascade_rcnn import CascadeRCNN
from detector.model.fast_rcnn import FastRCNN
from detector.model.faster_rcnn import FasterRCNN
from detector.model.network import DetectionNetwork
from detector.model.rcnn import RCNN
from detector.model.single_object import SingleObject
from detector.model.sliding_window import SlidingWindow
from detector.params import ModelSettings

FAMILY: dict[str, Callable[[ModelSettings, int, str], DetectionNetwork]] = {
    "single_object": SingleObject,
    "sliding_window": SlidingWindow,
    "rcnn": RCNN,
    "fast_rcnn": FastRCNN,
    "faster_rcnn": FasterRCNN,
    "cascade_rcnn": CascadeRCNN,
}


def build(settings: ModelSettings, classes: int, weights: str | None = None) -> DetectionNetwork:
    """Return a new network for `classes` classes; weights: replaces `model.start_from` unless it is None."""
    return FAMILY[settings.name](settings, classes, settings.start_from if weights is None else weights)
