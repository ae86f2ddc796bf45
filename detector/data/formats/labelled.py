"""The formats in which people label images, by their names in `fetch.sources`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from detector.data.formats import coco, cvat, labelstudio, voc, yolo
from detector.data.frames import FrameRules
from detector.data.places import Places
from detector.data.stated import Stated

# source, opened places, seed, rules about frames.
Reader = Callable[[Any, Places, int, FrameRules], dict[str, Stated]]

LABELLED: Mapping[str, Reader] = {
    "coco": coco.read,
    "cvat": cvat.read,
    "labelstudio": labelstudio.read,
    "voc": voc.read,
    "yolo": yolo.read,
}
