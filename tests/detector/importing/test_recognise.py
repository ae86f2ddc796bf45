"""What a graph is read as, by its outputs alone. Inputs are 64 x 64: 84 cells of strides 8, 16, 32; 85 with 64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from onnx import TensorProto

from detector.runtime.artifact import Artifact, load_artifact
from tests.support.artifacts import make_artifact
from tests.support.onnx_files import write_onnx

Import = Callable[..., Result]
ULTRALYTICS = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "task": "detect", "imgsz": "[64, 64]"}


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def in_pixels(*shape: int) -> np.ndarray:
    """Rows whose centres run over the whole input."""
    rows = zeros(*shape)
    rows[..., :2] = np.linspace(0, 60, shape[1])[:, None]
    return rows


def distances(classes: int, *sizes: int) -> dict[str, np.ndarray]:
    scores = {f"scores{size}": zeros(1, size, classes) for size in sizes}
    return scores | {f"sides{size}": zeros(1, size, 32) for size in sizes}


def names_file(folder: Path, count: int) -> Path:
    path = folder / f"{count}.txt"
    path.write_text("".join(f"class {number}\n" for number in range(count)))
    return path


# The outputs, the number of classes, and what is expected of the description.
READ: dict[str, tuple[Mapping[str, np.ndarray], int, str, Mapping[str, Any]]] = {
    "yolox": ({"output": zeros(1, 84, 8)}, 3, "yolox", {"kind": "yolox", "decoded": False, "strides": (8, 16, 32)}),
    "yolox, four strides": ({"output": zeros(1, 85, 8)}, 3, "yolox", {"strides": (8, 16, 32, 64)}),
    "yolov5": ({"output": zeros(1, 252, 8)}, 3, "ultralytics", {"kind": "yolo", "layout": "objectness"}),
    "yolov5 with its raw maps": (
        {"345": zeros(1, 3, 8, 8, 8), "output": zeros(1, 252, 8), "403": zeros(1, 3, 4, 4, 8)},
        3, "ultralytics", {"layout": "objectness"},
    ),
    "yolov8": ({"output0": zeros(1, 7, 84)}, 3, "ultralytics", {"kind": "yolo", "layout": "transposed"}),
    "yolov8 of one class": ({"output0": zeros(1, 5, 84)}, 1, "ultralytics", {"layout": "transposed"}),
    "yolov8, four strides": ({"output0": zeros(1, 7, 85)}, 3, "ultralytics", {"layout": "transposed"}),
    "yolov10": ({"output0": zeros(1, 50, 6)}, 3, "ultralytics", {"layout": "end_to_end"}),
    "nanodet": (distances(3, 64, 16, 4), 3, "nanodet", {"kind": "dfl", "strides": (8, 16, 32), "shift": -0.5}),
    "nanodet of 32 classes": (distances(32, 64, 16, 4), 32, "nanodet", {"bins": 8}),
    "picodet": (distances(3, 64, 16, 4, 1), 3, "picodet", {"kind": "dfl", "strides": (8, 16, 32, 64)}),
    "nanodet-plus": ({"output": zeros(1, 85, 35)}, 3, "nanodet-plus", {"kind": "dfl", "cell": 0.0, "shift": 0.0}),
    "fastestdet": ({"758": zeros(1, 8, 4, 4)}, 3, "fastestdet", {"kind": "fastestdet"}),
    "rtdetr": ({"logits": zeros(1, 9, 3), "pred_boxes": zeros(1, 9, 4)}, 3, "rtdetr", {"activation": "sigmoid"}),
    "detr": ({"logits": zeros(1, 9, 4), "pred_boxes": zeros(1, 9, 4)}, 3, "detr", {"activation": "softmax"}),
    "rtdetr with features": (
        {"logits": zeros(1, 9, 3), "pred_boxes": zeros(1, 9, 4), "last_hidden_state": zeros(1, 9, 16)},
        3, "rtdetr", {},
    ),
    "detr of four outputs": ({"logits": zeros(1, 9, 4), "pred_boxes": zeros(1, 9, 4)}, 4, "rtdetr", {}),
    "rfdetr": ({"dets": zeros(1, 9, 4), "labels": zeros(1, 9, 3)}, 3, "rfdetr", {"activation": "sigmoid"}),
    "torchvision": (
        {"boxes": zeros(2, 4), "labels": np.ones(2, np.int64), "scores": zeros(2)},
        3, "torchvision", {"first_label": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_a_graph_is_recognised_by_its_outputs(name: str, imported: Import, tmp_path: Path) -> None:
    outputs, classes, preset, decoding = READ[name]
    file = write_onnx(tmp_path / "model.onnx", outputs)
    done = imported(file, "--classes", names_file(tmp_path, classes))
    assert done.exit_code == 0, done.output
    assert f"recognised {preset}," in done.output
    artifact = load_artifact(tmp_path / "out")
    assert len(artifact.classes) == classes
    assert {key: getattr(artifact.decoding, key) for key in decoding} == decoding
    assert artifact.metrics == {} and artifact.baseline is None
    assert (tmp_path / "out/model.onnx").read_bytes() == file.read_bytes()


def described(
    imported: Import, tmp_path: Path, outputs: Mapping[str, np.ndarray], *options: object, **more: Any
) -> Artifact:
    done = imported(write_onnx(tmp_path / "model.onnx", outputs, **more), *options)
    assert done.exit_code == 0, done.output
    return load_artifact(tmp_path / "out")


def test_ultralytics_metadata_name_classes_and_size(imported: Import, tmp_path: Path) -> None:
    """The graph leaves its size open; three strides of its own would fit nothing else."""
    outputs = {"output0": zeros(1, 6, 100)}
    open_size = (1, 3, "height", "width")
    artifact = described(imported, tmp_path, outputs, size=open_size, metadata=ULTRALYTICS | {"imgsz": "[96, 128]"})
    assert artifact.classes == ("cat", "dog")
    assert (artifact.preprocessing.height, artifact.preprocessing.width) == (96, 128)
    assert artifact.preprocessing.place == "centre" and artifact.preprocessing.pad == 114


def test_metadata_decide_between_readings(imported: Import, tmp_path: Path) -> None:
    """One row a cell, in pixels: YOLOX with its decoder, or YOLOv6; Ultralytics' own file says which."""
    artifact = described(imported, tmp_path, {"output0": in_pixels(1, 84, 7)}, metadata=ULTRALYTICS)
    assert artifact.decoding.kind == "yolo"


@pytest.mark.parametrize("task", ["segment", "pose", "obb", "classify"])
def test_another_task_is_refused_by_its_name(task: str, imported: Import, tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "model.onnx", {"output0": zeros(1, 6, 84)}, metadata=ULTRALYTICS | {"task": task})
    done = imported(file)
    assert done.exit_code == 2 and f"its task is {task}" in done.output
    assert not (tmp_path / "out").exists()


def refused(done: Result, tmp_path: Path, *words: str) -> None:
    assert done.exit_code == 2, done.output
    for word in words:
        assert word in done.output, done.output
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix not in (".onnx", ".txt")) == []


def test_two_readings_are_named_and_nothing_is_written(imported: Import, tmp_path: Path) -> None:
    """YOLOX with its decoder and YOLOv6 have one shape, and other channels: only the user knows."""
    file, names = write_onnx(tmp_path / "model.onnx", {"output": in_pixels(1, 84, 8)}), names_file(tmp_path, 3)
    refused(imported(file, "--classes", names), tmp_path, "2 ways", "--preset yolox", "--preset ultralytics")
    for preset, kind in {"yolox": "yolox", "ultralytics": "yolo"}.items():
        done = imported(file, "--classes", names, "--preset", preset, out=preset)
        assert done.exit_code == 0, done.output
        decoding = load_artifact(tmp_path / preset).decoding
        assert decoding.kind == kind and getattr(decoding, "decoded", True)


def test_coco_with_gaps_is_ambiguous_between_two_detrs(imported: Import, tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "model.onnx", {"logits": zeros(1, 9, 91), "pred_boxes": zeros(1, 9, 4)})
    refused(imported(file, "--classes", "coco"), tmp_path, "--preset rtdetr", "--preset rfdetr")


def test_without_names_the_number_of_logits_decides_nothing(imported: Import, tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "model.onnx", {"logits": zeros(1, 9, 4), "pred_boxes": zeros(1, 9, 4)})
    refused(imported(file), tmp_path, "--preset rtdetr", "4 classes", "--preset detr", "3 classes", "--classes")


NOT_READ = {
    "cells of no strides": {"output": zeros(1, 77, 9)},
    "boxes and scores of cells": {"boxes": zeros(1, 84, 4), "scores": zeros(1, 84, 3)},
    "boxes in pixels": {"boxes": np.full((1, 9, 4), 30, np.float32), "scores": zeros(1, 9, 3)},
    "five axes": {"output": zeros(1, 3, 8, 8, 8)},
    "a classifier": {"output": zeros(1, 1000)},
    "a list of detections": {"dets": zeros(1, 9, 5), "labels": np.zeros((1, 9), np.int64)},
    "two images": {"output": zeros(2, 84, 8)},
    "masks beside boxes": {"output0": zeros(1, 39, 84), "output1": zeros(1, 32, 16, 16)},
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_READ)
def test_what_is_not_recognised_says_what_was_looked_for(name: str, imported: Import, tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "model.onnx", NOT_READ[name])
    done = imported(file, "--classes", names_file(tmp_path, 3))
    refused(done, tmp_path, "yolox: one output", "torchvision: boxes", "--kind KIND")
    assert all("x".join(map(str, value.shape)) in done.output for value in NOT_READ[name].values())


def test_a_preset_that_does_not_fit_names_what_does(imported: Import, tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "model.onnx", {"output": zeros(1, 84, 8)})
    done = imported(file, "--classes", names_file(tmp_path, 3), "--preset", "picodet")
    refused(done, tmp_path, "not those of picodet", "looks like yolox")


INPUTS = {
    "channels last": ((1, 64, 64, 3), {}, "channels first"),
    "two images at once": ((2, 3, 64, 64), {}, "1x3xHEIGHTxWIDTH"),
    "one channel": ((1, 1, 64, 64), {}, "1x1x64x64"),
    "a second input": ((1, 3, 64, 64), {"orig_target_sizes": (1, 2)}, "orig_target_sizes 1x2"),
    "a huge input": ((1, 3, 100_000, 100_000), {}, "at most 8192"),
}


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_that_is_not_one_image_is_refused(name: str, imported: Import, tmp_path: Path) -> None:
    size, inputs, word = INPUTS[name]
    file = write_onnx(tmp_path / "model.onnx", {"output": zeros(1, 84, 8)}, size, inputs=inputs)
    refused(imported(file, "--classes", names_file(tmp_path, 3)), tmp_path, word)


def test_one_image_without_the_axis_of_a_batch(imported: Import, tmp_path: Path) -> None:
    outputs = {"boxes": zeros(0, 4), "labels": np.zeros(0, np.int64), "scores": zeros(0)}
    artifact = described(imported, tmp_path, outputs, "--classes", "coco", size=(3, "h", "w"))
    assert artifact.preprocessing.resize == "none" and artifact.preprocessing.height is None
    # torchvision numbers COCO's classes as COCO does, with gaps and with 0 for the background.
    assert len(artifact.classes) == 80 and artifact.graph_classes is not None and len(artifact.graph_classes) == 91
    assert artifact.graph_classes[:2] == (None, "person") and artifact.decoding.first_label == 0


def test_a_fixed_input_of_torchvision_is_filled_with_the_image(imported: Import, tmp_path: Path) -> None:
    outputs = {"boxes": zeros(0, 4), "labels": np.zeros(0, np.int64), "scores": zeros(0)}
    artifact = described(imported, tmp_path, outputs, "--classes", "voc", size=(3, 48, 64))
    settings = artifact.preprocessing
    assert (settings.resize, settings.height, settings.width) == ("letterbox", 48, 64)


@pytest.mark.parametrize("proposals", [True, False])
def test_our_own_graphs_are_recognised(proposals: bool, imported: Import, tmp_path: Path) -> None:
    made = make_artifact(tmp_path / "made", proposals=proposals)
    done = imported(made / "model.onnx", "--classes", names_file(tmp_path, 3))
    assert done.exit_code == 0, done.output
    artifact = load_artifact(tmp_path / "out")
    assert artifact.preprocessing == load_artifact(made).preprocessing.model_copy(update={"height": 400, "width": 400})
    assert (artifact.proposals is not None) == proposals


def test_kind_and_values_read_what_no_preset_fits(imported: Import, tmp_path: Path) -> None:
    file, names = write_onnx(tmp_path / "model.onnx", {"output": zeros(1, 80, 35)}), names_file(tmp_path, 3)
    values = ["decoding.strides=[8,16]", "preprocessing.resize=stretch", "nms_threshold=0.6", "preprocessing.pad=3"]
    done = imported(file, "--classes", names, "--kind", "dfl", *(f"--set={value}" for value in values))
    assert done.exit_code == 0, done.output
    artifact = load_artifact(tmp_path / "out")
    assert artifact.decoding.kind == "dfl" and artifact.decoding.strides == (8, 16)
    assert artifact.preprocessing.pad == 3 and artifact.preprocessing.height == 64
    assert "assumed preprocessing.channels = RGB" in done.output and "assumed preprocessing.pad" not in done.output


WRONG_VALUES = {
    ("--kind", "dfl"): ("decoding.strides=VALUE is missing", "preprocessing.resize=VALUE is missing", "nms_threshold"),
    ("--set", "preprocessing.widht=64"): ("preprocessing.widht=64: Extra inputs",),
    ("--set", "preprocessing.width=wide"): ('preprocessing.width="wide"',),
    ("--set", "preprocessing.channels=GRB"): ("'RGB' or 'BGR'",),
    ("--set", "decoding.layout=rows"): ("decoding.layout",),
    ("--set", "decoding.strides=[8]"): ("correct the input's size or the strides",),
    ("--set", "width=64"): ("KEY=VALUE", "preprocessing.NAME"),
    ("--set", "preprocessing=64"): ("KEY=VALUE",),
    ("--set", "nms_threshold"): ("KEY=VALUE",),
    ("--set", "nms_threshold=2"): ("nms_threshold=2",),
    ("--set", "preprocessing.std=[0,0,0]"): ("preprocessing.std",),
    ("--set", "preprocessing.mean=[NaN,0,0]"): ("preprocessing.mean",),
    ("--set", "preprocessing.height=null"): ("resize letterbox needs height and width",),
    ("--set", "decoding.strides=[0]"): ("decoding.strides",),
    ("--set", "preprocessing.width=128"): ("128",),
    ("--kind", "yolov99"): ("is not one of", "torchvision"),
    ("--preset", "yolov99"): ("is not one of", "picodet"),
    ("--preset", "yolox", "--kind", "yolox"): ("exclude each other",),
}  # fmt: skip


@pytest.mark.parametrize("options", WRONG_VALUES)
def test_a_wrong_value_is_named(options: tuple[str, ...], imported: Import, tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "model.onnx", {"output": zeros(1, 84, 8)})
    refused(imported(file, "--classes", names_file(tmp_path, 3), *options), tmp_path, *WRONG_VALUES[options])


def test_a_given_value_replaces_an_assumed_one(imported: Import, tmp_path: Path) -> None:
    outputs = {"output": zeros(1, 84, 8)}
    file = write_onnx(tmp_path / "model.onnx", outputs)
    done = imported(file, "--classes", names_file(tmp_path, 3), "--set", "nms_threshold=null", "--name", "mine",
                    "--set", "preprocessing.channels=RGB", "--set", "max_detections=7")  # fmt: skip
    assert done.exit_code == 0, done.output
    artifact = load_artifact(tmp_path / "out")
    assert artifact.nms_threshold is None and artifact.max_detections == 7 and artifact.name == "mine"
    assert artifact.preprocessing.channels == "RGB"
    assert "assumed preprocessing.channels" not in done.output and "assumed nms_threshold" not in done.output
    assert "assumed preprocessing.resize = letterbox (change it with --set preprocessing.resize=VALUE)" in done.output


TOYS = {
    "transposed": (zeros(1, 6, 9), 2),
    "objectness": (zeros(1, 9, 7), 2),
    "end_to_end": (zeros(1, 9, 6), 3),
}


@pytest.mark.parametrize("layout", TOYS)
def test_the_number_of_classes_tells_the_layout_of_ultralytics_with_other_strides(
    layout: str, imported: Import, tmp_path: Path
) -> None:
    rows, classes = TOYS[layout]
    options = ["--classes", names_file(tmp_path, classes), "--preset", "ultralytics"]
    assert described(imported, tmp_path, {"output0": rows}, *options).decoding.layout == layout


def test_a_given_layout_decides_between_two(imported: Import, tmp_path: Path) -> None:
    """Seven rows and eight columns are three classes either way."""
    file = write_onnx(tmp_path / "model.onnx", {"output0": zeros(1, 7, 8)})
    options = ["--classes", names_file(tmp_path, 3), "--preset", "ultralytics"]
    refused(imported(file, *options), tmp_path, "decoding.layout=transposed", "decoding.layout=objectness")
    for layout in ("transposed", "objectness"):
        done = imported(file, *options, "--set", f"decoding.layout={layout}", out=layout)
        assert done.exit_code == 0, done.output
        assert load_artifact(tmp_path / layout).decoding.layout == layout


def test_a_side_that_the_graph_states_is_kept(imported: Import, tmp_path: Path) -> None:
    outputs = {"logits": zeros(1, 9, 3), "pred_boxes": zeros(1, 9, 4)}
    artifact = described(imported, tmp_path, outputs, "--classes", names_file(tmp_path, 3), size=(1, 3, 96, "width"))
    assert (artifact.preprocessing.height, artifact.preprocessing.width) == (96, 640)


def test_one_class_with_a_certain_score_is_no_label(imported: Import, tmp_path: Path) -> None:
    rows = zeros(1, 252, 6)
    rows[0, 0, 4:] = 1
    artifact = described(imported, tmp_path, {"output": rows}, "--classes", names_file(tmp_path, 1))
    assert artifact.decoding.layout == "objectness"


def test_a_graph_of_whole_numbers_normalises_by_itself(imported: Import, tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "model.onnx", {"output": zeros(1, 7, 84)}, takes=TensorProto.UINT8)
    names = names_file(tmp_path, 3)
    refused(imported(file, "--classes", names), tmp_path, "takes whole numbers", "--set preprocessing.std=[1,1,1]")
    values = ["--set", "preprocessing.mean=[0,0,0]", "--set", "preprocessing.std=[1,1,1]"]
    assert imported(file, "--classes", names, *values).exit_code == 0


def test_a_graph_of_half_precision_is_read(imported: Import, tmp_path: Path) -> None:
    outputs = {"output": np.zeros((1, 84, 8), np.float16)}
    names = names_file(tmp_path, 3)
    artifact = described(imported, tmp_path, outputs, "--classes", names, takes=TensorProto.FLOAT16)
    assert artifact.decoding.kind == "yolox"


def test_deformable_detr_is_detr_with_another_activation(imported: Import, tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "model.onnx", {"logits": zeros(1, 9, 91), "pred_boxes": zeros(1, 9, 4)})
    options = ["--classes", "coco", "--preset", "detr"]
    refused(imported(file, *options), tmp_path, "decoding.activation=sigmoid", "decoding.activation=softmax")
    for activation, first in (("sigmoid", None), ("softmax", "person")):
        done = imported(file, *options, "--set", f"decoding.activation={activation}", out=activation)
        assert done.exit_code == 0, done.output
        artifact = load_artifact(tmp_path / activation)
        assert artifact.decoding.activation == activation
        assert artifact.graph_classes is not None and artifact.graph_classes[0] == first
