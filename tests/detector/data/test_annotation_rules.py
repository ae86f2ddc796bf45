"""Each rule of the way in has a planted fault that trips it and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.common.errors import AnnotationError
from detector.common.quality.judge import Finding
from detector.data import expectations
from detector.data.annotations import CocoDataset, ImageInfo
from detector.data.checks import Split
from detector.data.expectations import judge_inputs, judge_splits, require
from detector.data.generated import draw_scene
from tests.support.datasets import image_info

CLASSES = ("cat", "dog")
BOXES = [[0, 0, 60, 40], [10, 5, 30, 20]]


def _image(number: int, boxes: list[list[float]] | None = None, labels: tuple[int, ...] = (0, 1)) -> ImageInfo:
    edges = BOXES if boxes is None else boxes
    return image_info(number, edges, labels[: len(edges)], size=(60, 40), file_name=f"{number}.jpg")


@pytest.fixture
def splits(tmp_path: Path) -> dict[str, Split]:
    """Three splits of two images, all of them good."""
    made = {}
    for order, name in enumerate(("train", "val", "test")):
        images = tuple(_image(10 * order + index) for index in (1, 2))
        files = {image.file_name: tmp_path / image.file_name for image in images}
        for path in files.values():
            path.write_bytes(path.name.encode())
        made[name] = Split(CocoDataset(CLASSES, images), files)
    return made


def _broken(findings: list[Finding]) -> dict[str, list[str]]:
    return {finding.rule.name: finding.examples for finding in findings if not finding.passed}


def _with(split: Split, image: ImageInfo) -> Split:
    """The split with its second image's truths replaced."""
    second = replace(image, id=split.dataset.images[1].id, file_name=split.dataset.images[1].file_name)
    return replace(split, dataset=CocoDataset(CLASSES, (split.dataset.images[0], second)))


def test_good_annotations_keep_every_rule(splits: dict[str, Split]) -> None:
    findings = judge_splits(splits)
    assert _broken(findings) == {}
    assert {finding.rule.name: finding.checked for finding in findings} == {
        "names_apart": 6, "contents_apart": 6, "contents_once": 6, "near_apart": 6,
        "boxes_inside": 12, "boxes_not_empty": 12, "labels_known": 12, "classes_shown": 6,
    }  # fmt: skip
    require(findings, "never said")


@pytest.mark.parametrize(
    ("rule", "image"),
    [
        ("boxes_inside", _image(0, [*BOXES, [-1, 0, 10, 10]], (0, 1, 0))),
        ("boxes_inside", _image(0, [*BOXES, [0, -0.5, 10, 10]], (0, 1, 0))),
        ("boxes_inside", _image(0, [*BOXES, [50, 0, 60.5, 10]], (0, 1, 0))),
        ("boxes_inside", _image(0, [*BOXES, [0, 30, 10, 41]], (0, 1, 0))),
        ("boxes_not_empty", _image(0, [*BOXES, [10, 10, 10, 20]], (0, 1, 0))),
        ("boxes_not_empty", _image(0, [*BOXES, [10, 20, 20, 10]], (0, 1, 0))),
        ("labels_known", _image(0, [*BOXES, [0, 0, 10, 10]], (0, 1, 2))),
        ("labels_known", _image(0, [*BOXES, [0, 0, 10, 10]], (0, 1, -1))),
    ],
)  # fmt: skip
def test_a_wrong_box_trips_its_rule_and_no_other(splits: dict[str, Split], rule: str, image: ImageInfo) -> None:
    splits["val"] = _with(splits["val"], image)
    findings = judge_splits(splits)
    assert _broken(findings) == {rule: ["12.jpg (val)"]}
    with pytest.raises(AnnotationError, match=rf"rule {rule} is broken: .*12\.jpg .* Mend it"):
        require(findings, "Mend it")


def test_one_content_in_two_splits(splits: dict[str, Split]) -> None:
    splits["test"].files["21.jpg"].write_bytes(b"2.jpg")
    findings = judge_splits(splits)
    assert set(_broken(findings)) == {"contents_apart"}
    with pytest.raises(AnnotationError, match=r"21\.jpg \(test\) and 2\.jpg \(train\) are the same image"):
        require(findings, "Mend it")


def test_a_smaller_copy_in_another_split_only_warns(splits: dict[str, Split]) -> None:
    pixels = Image.fromarray(draw_scene(3, 1).pixels)
    pixels.save(splits["train"].files["1.jpg"], "JPEG", quality=95)
    pixels.resize((pixels.width // 2, pixels.height // 2)).save(splits["test"].files["22.jpg"], "JPEG", quality=40)
    pixels.save(splits["train"].files["2.jpg"], "PNG")  # the same split
    Image.fromarray(draw_scene(3, 2).pixels).save(splits["val"].files["11.jpg"], "JPEG")
    Image.new("RGB", (60, 40), "grey").save(splits["val"].files["12.jpg"], "PNG")  # without contrast
    findings = judge_splits(splits)
    assert _broken(findings) == {
        "near_apart": [
            "1.jpg (train), nearly as 22.jpg (test)",
            "2.jpg (train), nearly as 22.jpg (test)",
            "22.jpg (test), nearly as 1.jpg (train)",
        ]
    }
    require(findings, "never said")


def test_many_copies_of_one_image_are_counted_not_listed(splits: dict[str, Split], tmp_path: Path) -> None:
    for number in range(100, 150):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(b"1.jpg")
        splits["train"].files[path.name] = path
    (copies,) = (examples for name, examples in _broken(judge_splits(splits)).items() if name == "contents_once")
    assert len(copies) == 20
    assert "and 47 more are the same image" in copies[0] and max(map(len, copies)) < 120


def test_one_name_in_two_splits(splits: dict[str, Split], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/2.jpg").write_bytes(b"another picture")
    splits["test"].files["2.jpg"] = tmp_path / "other/2.jpg"
    assert _broken(judge_splits(splits)) == {
        "names_apart": ["2.jpg (train), also in test", "2.jpg (test), also in train"]
    }


def test_one_content_twice_in_a_split_and_a_class_without_boxes_only_warn(splits: dict[str, Split]) -> None:
    splits["train"].files["2.jpg"].write_bytes(b"1.jpg")
    splits["val"] = replace(splits["val"], dataset=CocoDataset(CLASSES, (_image(11, BOXES, (0, 0)), _image(12, []))))
    findings = judge_splits(splits)
    assert set(_broken(findings)) == {"contents_once", "classes_shown"}
    assert _broken(findings)["classes_shown"] == ["dog (val)"]
    require(findings, "never said")


def _plant(change: Callable[[np.ndarray], None]) -> list[np.ndarray]:
    proposals = [np.array(BOXES, np.float32) for _ in range(5)]
    change(proposals[3])
    return proposals


@pytest.mark.parametrize(
    ("rule", "value"),
    [("proposals_inside", (0, 2, 61)), ("proposals_inside", (1, 1, -1)), ("proposals_not_empty", (1, 2, 10))],
)
def test_a_wrong_proposal_trips_its_rule_and_no_other(
    rule: str, value: tuple[int, int, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expectations, "BATCH_ROWS", 4)  # two images a batch
    truth = CocoDataset(CLASSES, tuple(_image(number) for number in range(1, 6)))

    def change(boxes: np.ndarray) -> None:
        boxes[value[0], value[1]] = value[2]

    findings = judge_inputs(truth, _plant(change))
    assert _broken(findings) == {rule: ["4.jpg"]}
    assert {finding.rule.name: finding.checked for finding in findings}[rule] == 10


def test_no_boxes_and_no_proposals_are_fine() -> None:
    truth = CocoDataset(CLASSES, (_image(1, []),))
    assert _broken(judge_inputs(truth, [np.zeros((0, 4), np.float32)])) == {}
