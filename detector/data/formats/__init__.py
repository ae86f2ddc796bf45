"""Reads annotation formats; each has its own file.

A reader gets the settings of one source and returns its splits as they are stated. Images of a source without splits
are those of "train".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from detector.data.formats import coco, cvat, generated, labelstudio, voc, yolo
from detector.data.frames import FrameRules
from detector.data.places import Places
from detector.data.stated import Stated

# What each format makes of a folder or a file: the settings of a source, or None. VOC comes last: it looks at any XML.
RECOGNISERS: Mapping[str, Callable[[Path], dict[str, Any] | None]] = {
    "cvat": cvat.recognise,
    "labelstudio": labelstudio.recognise,
    "coco": coco.recognise,
    "yolo": yolo.recognise,
    "voc": voc.recognise,
}

# By the name in `fetch.sources`: source, opened places, seed, rules about frames.
READERS: Mapping[str, Callable[[Any, Places, int, FrameRules], dict[str, Stated]]] = {
    "coco": coco.read,
    "cvat": cvat.read,
    "generated": generated.read,
    "labelstudio": labelstudio.read,
    "voc": voc.read,
    "yolo": yolo.read,
}
