"""A batch axis is opened where shapes and numbers allow it, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from detector.importing.batch_axis import settled
from detector.importing.graph_file import GraphFile, read_graph

SIZE = (8, 12)
OPENED = "batches: two images together give what each gives alone"


def graph(path: Path, first: int | str, nodes: list[Any], **weights: np.ndarray) -> GraphFile:
    """A graph from `images` (first, 3, 8, 12) to `y` through these nodes."""
    made = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [first, 3, *SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return read_graph(path)


def rows(path: Path, first: int | str = 1) -> GraphFile:
    """As most exported heads: channels become rows, by a shape that names the one image."""
    nodes = [
        helper.make_node("Reshape", ["images", "shape"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["y"], perm=[0, 2, 1]),
    ]
    return graph(path, first, nodes, shape=np.array([1, 3, -1], np.int64))


def mixing_shapes(path: Path, first: int | str = 1) -> GraphFile:
    """As a channel shuffle that folds the image into the channels."""
    nodes = [
        helper.make_node("Reshape", ["images", "folded"], ["f"]),
        helper.make_node("Transpose", ["f"], ["t"], perm=[1, 0]),
        helper.make_node("Reshape", ["t", "shape"], ["y"]),
    ]
    return graph(path, first, nodes, folded=np.array([3, 96]), shape=np.array([1, 3, 8, 12]))


def mixing_numbers(path: Path, first: int | str = 1) -> GraphFile:
    """Its shapes are those of a batch, and its numbers depend on the other images."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["images", "mean"], ["y"]),
    ]
    return graph(path, first, nodes)


def mixing_what_is_found(path: Path, first: int | str = 1) -> GraphFile:
    """It mixes images only where one is bright everywhere."""
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["most"], axes=[0], keepdims=1),
        helper.make_node("ReduceMin", ["most"], ["least"], axes=[2, 3], keepdims=1),
        helper.make_node("Sub", ["least", "enough"], ["above"]),
        helper.make_node("Relu", ["above"], ["found"]),
        helper.make_node("Mul", ["images", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "found"], ["y"]),
    ]
    return graph(path, first, nodes, enough=np.array([250], np.float32), zero=np.array([0], np.float32))


def result(made: GraphFile, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(made.data, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"images": images})[0])


def test_an_axis_of_one_is_opened_on_demand(tmp_path: Path) -> None:
    before, said = rows(tmp_path / "model.onnx"), []
    made = settled(before, SIZE, True, said.append)
    assert made.inputs == {"images": (None, 3, *SIZE)} and said == [OPENED]
    onnx.checker.check_model(onnx.ModelProto.FromString(made.data))
    images = np.random.default_rng(0).random((5, 3, *SIZE), np.float32)
    expected = np.concatenate([result(before, images[place : place + 1]) for place in range(5)])
    np.testing.assert_array_equal(result(made, images), expected)


def test_without_the_wish_an_axis_of_one_stays(tmp_path: Path) -> None:
    before, said = rows(tmp_path / "model.onnx"), []
    assert settled(before, SIZE, False, said.append) is before and said == []


@pytest.mark.parametrize("make", [mixing_shapes, mixing_numbers, mixing_what_is_found])
def test_a_graph_that_mixes_images_stays_at_one(tmp_path: Path, make: Any) -> None:
    before, said = make(tmp_path / "model.onnx"), []
    assert settled(before, SIZE, True, said.append) is before
    assert len(said) == 1 and "takes one image at a time" in said[0]


def test_an_open_axis_stays_open_only_where_it_may_be_relied_on(tmp_path: Path) -> None:
    said: list[str] = []
    nodes = [helper.make_node("Relu", ["images"], ["y"])]
    good = graph(tmp_path / "good.onnx", "N", nodes)
    assert settled(good, SIZE, False, said.append) is good and said == []
    for make in (mixing_shapes, mixing_numbers):
        made = settled(make(tmp_path / "bad.onnx", "N"), SIZE, False, said.append)
        assert made.inputs == {"images": (1, 3, *SIZE)} and "takes one image at a time" in said.pop()
        assert result(made, np.zeros((1, 3, *SIZE), np.float32)).shape == (1, 3, *SIZE)


def test_graphs_without_the_axis_or_with_proposals_are_left_alone(tmp_path: Path) -> None:
    model = rows(tmp_path / "model.onnx")
    for inputs in ({"images": (3, 8, 12)}, {"image": (None, 3, 8, 12), "proposals": (None, 4)}):
        other = GraphFile(model.path, model.data, "", {}, inputs, False)
        assert settled(other, SIZE, False, lambda _: None) is other
