from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from detector.common.errors import ArtifactError
from detector.data.classes import COCO_CLASSES, VOC_CLASSES
from detector.importing.classes import labelled, metadata_classes, named_classes
from detector.runtime.artifact import load_artifact
from detector.runtime.detector import Image, open_detector
from tests.support.onnx_files import write_onnx

FILES = {
    "a.txt": "cat\ndog\nN/A\ntree\n",
    "without a line end.txt": "cat\ndog\nn/a\ntree",
    "windows.txt": "\ufeffcat\r\n dog \r\nN/A\r\ntree\r\n",
    "list.json": '["cat", "dog", null, "tree"]',
    "map.json": '{"0": "cat", "1": "dog", "3": "tree", "2": "N/A"}',
    "config.json": '{"id2label": {"0": "cat", "1": "dog", "2": "N/A", "3": "tree"}, "num_queries": 300}',
    "list.yaml": "- cat\n- dog\n- null\n- tree\n",
    "data.yaml": "train: images/train\nnc: 4\nnames:\n  0: cat\n  1: dog\n  2: N/A\n  3: tree\n",
}


@pytest.mark.parametrize("name", FILES)
def test_a_list_of_names_may_have_several_forms(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FILES[name], "utf-8", newline="")
    listed = named_classes(str(tmp_path / name))
    assert listed.names(4) == listed.names(None) == ("cat", "dog", None, "tree")


WRONG = {
    "empty.txt": ("", "holds no list of names"),
    "gap.txt": ("cat\n\ndog\n", "class 1 is '', not a name; write N/A"),
    "twice.txt": ("cat\ndog\ncat\n", "lists 'cat' twice"),
    "terminal.txt": ("cat\n\x1b[2Jdog\n", "class 1 is '\\x1b[2Jdog', not a name"),
    "nothing.txt": ("N/A\nN/A\n", "holds no names"),
    "broken.json": ('["cat"', "cannot be read"),
    "number.json": ("7", "holds no list"),
    "numbers.json": ("[1, 2]", "class 0 is 1, not a name"),
    "gap.json": ('{"0": "cat", "2": "dog"}', "must run from 0; '1' is missing"),
    "broken.yaml": ("- [cat", "is not YAML"),
    "bool.yaml": ("- cat\n- no\n", "class 1 is False, not a name"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_list_is_refused_with_its_reason(name: str, tmp_path: Path) -> None:
    content, words = WRONG[name]
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(ArtifactError) as caught:
        named_classes(str(tmp_path / name))
    assert words in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_a_list_that_is_no_text_or_no_file_is_refused(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"names\.txt: cannot be read.*coco, voc or a file"):
        named_classes(str(tmp_path / "names.txt"))


def test_coco_has_three_lists_and_the_number_of_outputs_chooses() -> None:
    coco = named_classes("coco")
    assert coco.names(80) == COCO_CLASSES and len(COCO_CLASSES) == len(set(COCO_CLASSES)) == 80
    with_gaps = coco.names(91)
    assert coco.names(90) == with_gaps[1:] and tuple(name for name in with_gaps if name) == COCO_CLASSES
    # Numbers of COCO's own annotation files.
    assert {number: with_gaps[number] for number in (1, 13, 44, 62, 72, 90)} == {
        1: "person", 13: "stop sign", 44: "bottle", 62: "chair", 72: "tv", 90: "toothbrush",
    }  # fmt: skip
    with pytest.raises(ArtifactError, match="scores 20 classes, and COCO's list has 80 or 90 or 91 names"):
        coco.names(20)


def test_metadata_are_read_as_values_and_never_run() -> None:
    found = metadata_classes({"names": "{0: 'cat', 1: \"dog's\"}"})
    assert found is not None and found.names(2) == ("cat", "dog's")
    assert metadata_classes({}) is None
    for text in ("__import__('os').getcwd()", "{0: ", "[" * 10_000):
        with pytest.raises(ArtifactError, match="give --classes"):
            metadata_classes({"names": text})


def test_coco_names_become_vocs_and_the_rest_is_dropped() -> None:
    labels = labelled(COCO_CLASSES, "coco-voc")
    assert labels.classes == VOC_CLASSES and len(labels.dropped) == 60 and "zebra" in labels.dropped
    assert labels.graph[4] == "aeroplane" and labels.graph[COCO_CLASSES.index("zebra")] is None


def test_other_spellings_of_coco_become_vocs_names() -> None:
    old = ("aeroplane", "motorbike", "sofa", "pottedplant", "dining_table", "TVmonitor", "traffic light", None)
    labels = labelled(old, "coco-voc")
    assert labels.graph == ("aeroplane", "motorbike", "sofa", "pottedplant", "diningtable", "tvmonitor", None, None)
    assert labels.dropped == ("traffic light",)


@pytest.mark.parametrize("name", ["map.json", "map.yaml"])
def test_a_map_joins_classes_and_drops_others(name: str, tmp_path: Path) -> None:
    new = {"truck": "vehicle", "car": "vehicle", "cat": "animal", "tree": None}
    (tmp_path / name).write_text(json.dumps(new))  # which is YAML too
    labels = labelled(("cat", "car", "truck", "tree", "cloud"), str(tmp_path / name))
    assert labels.classes == ("vehicle", "animal")
    assert labels.graph == ("animal", "vehicle", "vehicle", None, None) and labels.dropped == ("tree", "cloud")


MAPS = {
    "unknown name": ('{"cta": "cat"}', "renames 'cta', which the model does not have; its classes are cat, dog"),
    "no class left": ('{"cat": null}', "leaves no class"),
    "empty": ("{}", "leaves no class"),
    "a list": ('["cat"]', "no map from names to names"),
    "an empty name": ('{"cat": " "}', "no map from names to names"),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_wrong_map_is_refused_with_its_reason(name: str, tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(MAPS[name][0])
    with pytest.raises(ArtifactError) as caught:
        labelled(("cat", "dog"), str(path))
    assert MAPS[name][1] in str(caught.value) and "map.json" in str(caught.value)


def test_the_number_of_names_must_be_that_of_the_graph(imported: Callable[..., Result], tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "model.onnx", {"output": np.zeros((1, 84, 8), np.float32)})
    done = imported(file, "--classes", "voc")
    assert done.exit_code == 2 and "scores 3 classes, and VOC's list has 20 names" in done.output
    done = imported(file)
    assert done.exit_code == 2 and "names of its 3 classes; give --classes" in done.output
    assert not (tmp_path / "out").exists()


def test_dropped_classes_neither_appear_nor_suppress(imported: Callable[..., Result], tmp_path: Path) -> None:
    """Two boxes at one place: the better one is of a dropped class, and another class joins the first."""
    rows = np.zeros((1, 84, 9), np.float32)
    rows[0, 0] = [2, 2, 1, 1, 1, 0.9, 0, 0, 0.3]  # dropped first class; last class
    rows[0, 1] = [1, 2, 1, 1, 1, 0, 0.8, 0, 0]  # the same place, in cells
    rows[0, 2] = [0, 2, 1, 1, 1, 0, 0, 0.7, 0]  # the same place, a class that is joined with the one before
    file = write_onnx(tmp_path / "model.onnx", {"output": rows})
    (tmp_path / "names.txt").write_text("cloud\ncar\ntruck\ncat\n")
    (tmp_path / "map.json").write_text('{"car": "vehicle", "truck": "vehicle", "cat": "cat"}')
    done = imported(file, "--classes", tmp_path / "names.txt", "--rename", tmp_path / "map.json")
    assert done.exit_code == 0 and "dropped 1 of 4 classes, which have no new name: cloud" in done.output, done.output
    (found,) = open_detector(tmp_path / "out").detect([Image.whole(np.zeros((64, 64, 3), np.uint8))]).detections
    assert load_artifact(tmp_path / "out").classes == ("vehicle", "cat")
    assert found.labels.tolist() == [0, 1] and found.scores.tolist() == [0.8, 0.3]


def test_one_box_of_two_joined_classes_is_found_once(imported: Callable[..., Result], tmp_path: Path) -> None:
    """A DETR suppresses nothing by itself: one query scores both classes."""
    logits = np.full((1, 9, 3), -9, np.float32)
    logits[0, 0] = [2, 1, -9]
    boxes = np.zeros((1, 9, 4), np.float32)
    boxes[0, 0] = 0.5
    file = write_onnx(tmp_path / "model.onnx", {"logits": logits, "pred_boxes": boxes})
    (tmp_path / "names.txt").write_text("car\ntruck\ncat\n")
    (tmp_path / "map.json").write_text('{"car": "vehicle", "truck": "vehicle", "cat": "cat"}')
    done = imported(file, "--classes", tmp_path / "names.txt", "--rename", tmp_path / "map.json")
    assert done.exit_code == 0 and "assumed nms_threshold = 0.99" in done.output, done.output
    (found,) = open_detector(tmp_path / "out").detect([Image.whole(np.zeros((64, 64, 3), np.uint8))]).detections
    assert found.labels.tolist() == [0] and found.scores.tolist() == [0.8808]


def test_a_label_beyond_the_names_is_refused(imported: Callable[..., Result], tmp_path: Path) -> None:
    """Eighty names for torchvision's ninety numbers would give most objects the name of another class."""
    (tmp_path / "names.txt").write_text("\n".join(COCO_CLASSES))
    labels = np.array([1, 90])
    outputs = {"boxes": np.zeros((2, 4), np.float32), "labels": labels, "scores": np.zeros(2, np.float32)}
    done = imported(write_onnx(tmp_path / "model.onnx", outputs), "--classes", tmp_path / "names.txt")
    assert done.exit_code == 2 and "gives the label 90, and the last of 80 names is for label 80" in done.output
    done = imported(write_onnx(tmp_path / "model.onnx", outputs), "--classes", "coco")
    assert done.exit_code == 0, done.output
    rows = np.zeros((1, 50, 6), np.float32)
    rows[0, 3, 5] = 20
    file = write_onnx(tmp_path / "model.onnx", {"output0": rows})
    done = imported(file, "--classes", "voc", out="other")
    assert done.exit_code == 2 and "gives the label 20, and the last of 20 names is for label 19" in done.output


def test_a_list_may_begin_with_the_background(imported: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("__background__\ncat\ndog\n")
    boxes, labels = np.array([[2, 2, 30, 30], [2, 2, 30, 30]], np.float32), np.array([1, 2])
    outputs = {"boxes": boxes, "labels": labels, "scores": np.array([0.9, 0.8], np.float32)}
    for options in (
        [],
        ["--kind", "torchvision", "--set", "preprocessing.resize=stretch", "--set", "nms_threshold=null"],
    ):
        done = imported(write_onnx(tmp_path / "model.onnx", outputs), "--classes", tmp_path / "names.txt", *options)
        assert done.exit_code == 0, done.output
        artifact = load_artifact(tmp_path / "out")
        (found,) = open_detector(tmp_path / "out").detect([Image.whole(np.zeros((64, 64, 3), np.uint8))]).detections
        assert [artifact.classes[label] for label in found.labels] == ["cat", "dog"]
