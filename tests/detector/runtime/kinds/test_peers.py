"""Detectors that others trained find what another implementation of their recipes finds."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from detector.runtime.detector import open_detector
from detector.runtime.geometry.boxes import iou
from detector.runtime.images import decode_image
from tests.support.detecting import detect
from tests.support.peers import PEERS, peer_artifact, voc_name


def folder_of(variable: str, pattern: str) -> Path:
    """The folder that holds a file of this pattern, in the folder that an environment variable names."""
    found = next(Path(os.environ.get(variable) or os.devnull).glob(pattern), None)
    if found is None:
        pytest.skip(f"{variable} does not name a folder with {pattern}")
    return found.parent


@pytest.mark.slow
@pytest.mark.parametrize("file", PEERS)
def test_the_boxes_of_the_reference_are_found(tmp_path: Path, file: str) -> None:
    """Of the reference boxes with a VOC name, 99 % at IoU .95 and with a score within .02."""
    peers, photographs = folder_of("BOXCAR_PEERS", "reference.json"), folder_of("BOXCAR_VOC", "**/JPEGImages/*.jpg")
    reference = json.loads((peers / "reference.json").read_text())["detectors"][file]["boxes"]
    detector = open_detector(peer_artifact(peers / file, tmp_path / "model"))
    hits, count = 0, 0
    for name, boxes in reference.items():
        found = detect(detector, decode_image((photographs / name).read_bytes()), 0.2)
        free = np.ones(len(found.scores), np.bool_)
        for coco_name, score, *box in boxes:
            if voc_name(coco_name) is None:
                continue
            count += 1
            overlaps = iou(np.array([box], np.float32), found.boxes)[0]
            right_label = found.labels == detector.classes.index(voc_name(coco_name))
            fits = np.flatnonzero(free & right_label & (overlaps >= 0.95) & (np.abs(found.scores - score) <= 0.02))
            hits += len(fits) > 0
            free[fits[:1]] = False
    assert count > 30 and hits >= 0.99 * count
