"""Files that other projects published, against boxes that another implementation of their recipes found."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from detector.runtime.detector import Image, open_detector
from detector.runtime.geometry.boxes import iou
from detector.runtime.images import decode_image

FILES = ("yolox_nano", "picodet_s_416_coco", "nanodet_m_416", "fastestdet")


def folder(variable: str, file: str) -> Path:
    """Return the file in the folder that the variable names, or skip."""
    path = Path(os.environ.get(variable, "")) / file
    if variable not in os.environ or not path.is_file():
        pytest.skip(f"{variable} does not name a folder with {file}")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_published_file_finds_the_boxes_that_another_implementation_finds(
    name: str, imported: Callable[..., Result], tmp_path: Path
) -> None:
    reference = json.loads(folder("BOXCAR_PEERS", "reference.json").read_text())["detectors"][f"{name}.onnx"]["boxes"]
    done = imported(folder("BOXCAR_PEERS", f"{name}.onnx"), "--classes", "coco")
    assert done.exit_code == 0, done.output
    detector = open_detector(tmp_path / "out")
    total = found = 0
    with tarfile.open(folder("BOXCAR_VOC_ARCHIVES", "voc2007s-test.tar")) as archive:
        files = {Path(member.name).name: member for member in archive if member.name.endswith(".jpg")}
        for image, boxes in reference.items():
            data = archive.extractfile(files[image])
            assert data is not None
            pixels = decode_image(data.read())
            (mine,) = detector.detect([Image.whole(pixels)], min_score=0.2).detections
            labels = np.array([detector.classes[label] for label in mine.labels])
            for label, score, *box in boxes:
                overlaps = iou(np.array([box], np.float32), mine.boxes)[0]
                close = (overlaps >= 0.95) & (np.abs(mine.scores - score) <= 0.02) & (labels == label)
                found += bool(close.any())
                total += 1
    assert total > 40 and found >= 0.99 * total, f"{found} of {total}"
