"""Reads annotation formats; each has its own file.

A reader gets the settings of one source and returns its splits as they are stated. Images of a source without splits
are those of "train".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from detector.data.formats import coco, cvat, generated, labelstudio, manifests, voc, yolo
from detector.data.formats.labelled import LABELLED, Reader

# What each format makes of a folder or a file: the settings of a source, or None. VOC comes last: it looks at any XML.
RECOGNISERS: Mapping[str, Callable[[Path], dict[str, Any] | None]] = {
    "manifests": manifests.recognise,
    "cvat": cvat.recognise,
    "labelstudio": labelstudio.recognise,
    "coco": coco.recognise,
    "yolo": yolo.recognise,
    "voc": voc.recognise,
}

READERS: Mapping[str, Reader] = {**LABELLED, "generated": generated.read, "manifests": manifests.read}
