"""The measurement of artifacts side by side: AP, the table, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks.batch_accuracy import main as batch_accuracy
from benchmarks.models import main
from detector.data.annotations import CocoDataset, save_coco
from detector.runtime.kinds.yolo import YoloDecoding
from detector.runtime.preprocess import Preprocessing
from tests.support.datasets import image_info
from tests.support.graphs import artifact_of, graph_of

CLASSES = ("cat", "dog")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three images of 60 x 100, each with a cat at (10, 10, 50, 40) and a dog that no artifact here finds."""
    folder = tmp_path / "dataset"
    (folder / "images").mkdir(parents=True)
    images = [image_info(number, [[10, 10, 50, 40], [60, 10, 90, 50]], [0, 1]) for number in (1, 2, 3)]
    save_coco(CocoDataset(CLASSES, tuple(images)), folder / "test.json")
    for image in images:
        Image.fromarray(np.zeros((60, 100, 3), np.uint8)).save(folder / "images" / image.file_name)
    return folder


def finds(folder: Path, box: list[float], classes: tuple[str, ...] = CLASSES) -> Path:
    """An artifact that always finds one object of the second of its two classes."""
    graph = graph_of({"out": np.array([[[*box, 0.9, 1]]], np.float32)}, [1, 3, 60, 100])
    preprocessing = Preprocessing(resize="none", height=None, width=None)
    return artifact_of(graph, folder, YoloDecoding(layout="end_to_end"), preprocessing, classes=classes)


def test_ap_is_that_of_what_is_found_by_the_name_of_its_label(dataset: Path, tmp_path: Path) -> None:
    """The cat is found exactly, or at an IoU of .6; the artifacts name the classes in another order."""
    right = finds(tmp_path / "right", [10, 10, 50, 40], ("dog", "cat"))
    rough = finds(tmp_path / "rough", [10, 10, 50, 28], ("dog", "cat"))
    out = tmp_path / "chart.png"
    done = CliRunner().invoke(
        main, [str(right), "--peer", str(rough), "--dataset", str(dataset), "--out", str(out)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    lines = [[cell.strip() for cell in line.split("|")] for line in done.output.splitlines()]
    rows = {cells[1]: cells[3:] for cells in lines if len(cells) > 2}  # without the times
    assert rows["right"][:2] == ["0.500", "0.500"] and "trained on COCO" not in rows["right"]
    assert rows["rough"][:2] == ["0.500", "0.000"] and "trained on COCO" in rows["rough"]
    assert "3 images of test" in done.output and "ONNX Runtime" in done.output
    with Image.open(out) as chart:
        assert chart.format == "PNG"


def test_a_class_that_the_split_does_not_know_is_refused(dataset: Path, tmp_path: Path) -> None:
    other = finds(tmp_path / "other", [10, 10, 50, 40], ("cat", "zebra"))
    done = CliRunner().invoke(main, [str(other), "--dataset", str(dataset)])
    assert done.exit_code == 1 and "its class zebra is not one of the split's" in done.output


def test_no_artifact_is_wrong_usage(dataset: Path) -> None:
    done = CliRunner().invoke(main, ["--dataset", str(dataset)])
    assert done.exit_code == 2 and "name the folder of at least one artifact" in done.output


@pytest.mark.slow
def test_a_manifest_has_the_ap_of_an_artifact_that_was_not_measured(dataset: Path, tmp_path: Path) -> None:
    """Through the whole job and a bucket."""
    right = finds(tmp_path / "right", [10, 10, 50, 40], ("dog", "cat"))
    arguments = ["--artifact", str(right), "--dataset", str(dataset), "--min-score", "0.01"]
    done = CliRunner().invoke(batch_accuracy, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    for name in ("map_50_11point", "map_75_11point"):
        assert f"{name}: 0.500000 from the manifest, none in model.json" in done.output
