import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.annotations import CocoDataset, ImageInfo
from detector.evaluation.measure import detect_all, figures
from detector.runtime.images import decode_image
from detector.runtime.postprocess import Detections
from detector.stages.metrics_file import write_json


@pytest.fixture
def truth(tmp_path: Path) -> CocoDataset:
    """Three pictures with ids 7, 8, 9, of 30, 31 and 32 pixels' width, each with one object."""
    no = np.zeros(1, bool)
    images = []
    for number in range(3):
        name = f"{number}.png"
        Image.new("RGB", (30 + number, 20)).save(tmp_path / name)
        box = np.array([[2, 3, 20, 15]], np.float32)
        images.append(ImageInfo(7 + number, name, 30 + number, 20, box, np.array([number % 2]), no, no))
    return CocoDataset(("cat", "dog"), tuple(images))


def found(label: int) -> Detections:
    return Detections(np.array([[2, 3, 20, 15]], np.float32), np.array([0.9]), np.array([label]))


@pytest.mark.parametrize("workers", [1, 3])
def test_every_image_is_seen_once_and_filed_under_its_id(tmp_path: Path, truth: CocoDataset, workers: int) -> None:
    seen: dict[int, tuple[int, ...]] = {}
    lock = threading.Lock()

    def find(index: int, data: bytes) -> Detections:
        with lock:
            assert index not in seen
            seen[index] = decode_image(data).shape
        return found(index)

    detections = detect_all(find, tmp_path, truth, "test", workers)
    assert seen == {index: (20, 30 + index, 3) for index in range(3)}
    assert {number: int(d.labels[0]) for number, d in detections.items()} == {7: 0, 8: 1, 9: 2}


def test_a_failure_in_a_worker_is_not_swallowed(tmp_path: Path, truth: CocoDataset) -> None:
    def find(index: int, data: bytes) -> Detections:
        raise ZeroDivisionError(index)

    with pytest.raises(ZeroDivisionError):
        detect_all(find, tmp_path, truth, "test", 2)


def test_figures_of_perfect_detections_are_1(truth: CocoDataset) -> None:
    values, voc = figures(truth, {7: found(0), 8: found(1), 9: found(0)})
    assert set(values) >= {f"map_{iou}_{rule}" for iou in (50, 70, 90) for rule in ("11point", "all_point")}
    assert all(values[name] == pytest.approx(1) for name in values if name.startswith("map_"))
    assert {name for name in values if name.startswith("coco_")}
    assert voc.map_11point(0.5) == values["map_50_11point"]


def test_figures_of_no_detections_are_0(truth: CocoDataset) -> None:
    values, _ = figures(truth, {})
    assert values["map_50_11point"] == values["map_90_all_point"] == 0


def test_json_has_no_nan_and_six_decimals(tmp_path: Path) -> None:
    path = tmp_path / "new/metrics.json"
    write_json(path, {"a": math.nan, "b": [1 / 3, (2, "ü")], 3: {"c": True, "d": None}})
    assert json.loads(path.read_text("utf-8")) == {"a": None, "b": [0.333333, [2, "ü"]], "3": {"c": True, "d": None}}
    assert "ü" in path.read_text("utf-8")
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": math.inf})
