"""`detector check-labels` on planted faults, with a detector that a test makes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from detector.cli import main
from detector.common.errors import AnnotationError
from detector.data.annotations import CocoDataset, load_coco, save_coco
from detector.data.generated import GENERATED_CLASSES
from detector.runtime.detector import Batch
from detector.runtime.postprocess import Detections
from detector.stages import check_labels
from tests.support.datasets import write_scenes


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_scenes(tmp_path / "dataset", {"val": 6})


class Perfect:
    """Finds the true objects of each image, in the order of the calls, with score .9."""

    classes = (*GENERATED_CLASSES[::-1], "cat")  # another order, and a class that the dataset does not have

    def __init__(self, truth: CocoDataset) -> None:
        self.images = iter(truth.images)
        self.names = truth.classes

    def detect(self, images: list[object], *, min_score: float) -> Batch:
        assert len(images) == 1
        image = next(self.images)
        labels = np.array([self.classes.index(self.names[label]) for label in image.labels], np.int64)
        return Batch([Detections(image.boxes, np.full(len(labels), 0.9), labels)], {})


def test_planted_faults_come_first(
    dataset: Path, tmp_path: Path, make_artifact: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = load_coco(dataset / "val.json")
    artifact = make_artifact(tmp_path / "artifact", classes=GENERATED_CLASSES)
    chosen = [number for number, image in enumerate(truth.images) if len(image.boxes) > 1 and not image.ignore.any()][
        :2
    ]
    images = list(truth.images)
    removed, swapped = (images[number] for number in chosen)
    rows = {name: getattr(removed, name)[1:] for name in ("boxes", "labels", "ignore", "crowd")}
    images[chosen[0]] = replace(removed, **rows)
    labels = swapped.labels.copy()
    labels[0] = (labels[0] + 1) % len(truth.classes)
    images[chosen[1]] = replace(swapped, labels=labels)
    save_coco(replace(truth, images=tuple(images)), dataset / "val.json")
    monkeypatch.setattr(check_labels, "open_detector", lambda *_: Perfect(truth))
    monkeypatch.setattr(check_labels, "read_for", lambda *_: None)
    check_labels.run(artifact, dataset, "val", tmp_path / "out", 1, "cpu")
    found = json.loads((tmp_path / "out/labels.json").read_text())
    assert len(found) == 2  # all other annotations are as the detector sees them
    first = {row["kind"]: row for row in found}
    assert first["overlooked"]["file_name"] == removed.file_name and "label" not in first["overlooked"]
    assert first["swapped"]["file_name"] == swapped.file_name
    assert first["swapped"]["detected"] == truth.classes[swapped.labels[0]]
    assert first["swapped"]["label"] == truth.classes[labels[0]]
    page = (tmp_path / "out/labels.html").read_text()
    assert "overlooked? " in page and "swapped? annotated as" in page


def test_the_command_writes_both_files_and_warns_of_training_labels(
    dataset: Path, tmp_path: Path, make_artifact: Callable[..., Path]
) -> None:
    artifact = make_artifact(tmp_path / "artifact", classes=GENERATED_CLASSES)
    (dataset / "val.json").rename(dataset / "train.json")
    words = ["check-labels", str(artifact), "--dataset", str(dataset), "--split", "train", "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0 and "repeats most of their faults" in done.stderr
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"labels.html", "labels.json"}


def test_a_detector_of_other_classes_is_refused(
    dataset: Path, tmp_path: Path, make_artifact: Callable[..., Path]
) -> None:
    artifact = make_artifact(tmp_path / "artifact", classes=("cat", "dog"))
    with pytest.raises(AnnotationError, match=r"has no class of the detector .*arrow.* here, and cat, dog there"):
        check_labels.run(artifact, dataset, "val", tmp_path / "out", 1, "cpu")
