"""Graphs whose outputs are given, so that a test knows what a detector must make of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from detector.runtime.artifact import Artifact, save_artifact
from detector.runtime.postprocess import Detections
from detector.runtime.preprocess import Preprocessing

CLASSES = ("cat", "dog", "tree")
# A detection as a plain row: label, score, and the box's two corners.
Row = tuple[int, float, float, float, float, float]


def artifact_of(data: bytes, folder: Path, decoding: Any, preprocessing: Preprocessing, **changes: Any) -> Path:
    """Write an artifact of a graph's bytes that suppresses nothing and was not measured; returns its folder."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(data)
    settings = {
        "name": "tiny", "classes": CLASSES, "preprocessing": preprocessing, "decoding": decoding,
        "nms_threshold": None, "max_detections": 5000, "operating_score": 0.25,
    }  # fmt: skip
    save_artifact(Artifact(**(settings | changes), onnx_sha256=hashlib.sha256(data).hexdigest()), folder)
    return folder


def graph_of(
    outputs: Mapping[str, NDArray[Any]],
    shape: Sequence[int | str],
    *,
    name: str = "images",
    dtype: Any = np.float32,
    gains: Mapping[str, NDArray[np.float32]] | None = None,
) -> bytes:
    """Return a graph with one input of this name, shape and dtype, which always gives these outputs.

    gains: of an output's shape, float32: that output grows by the input's mean times the gain.
    """
    nodes = [
        helper.make_node("Cast", [name], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], keepdims=0),
    ]
    constants = {f"{output} given": value for output, value in outputs.items()}
    for output in outputs:
        if output in (gains or {}):
            constants[f"{output} gain"] = gains[output]
            nodes.append(helper.make_node("Mul", ["mean", f"{output} gain"], [f"{output} more"]))
            nodes.append(helper.make_node("Add", [f"{output} given", f"{output} more"], [output]))
        else:
            nodes.append(helper.make_node("Identity", [f"{output} given"], [output]))
    graph = helper.make_graph(
        nodes,
        "given",
        [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)],
        [
            helper.make_tensor_value_info(output, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for output, value in outputs.items()
        ],
        [numpy_helper.from_array(value, constant) for constant, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def assert_found(found: Detections, expected: Iterable[Row], *, pixels: float = 0.07, score: float = 1.1e-4) -> None:
    """Assert that the detections are the expected rows in any order, each within `pixels` and `score`."""
    rest = list(zip(found.labels, found.scores, found.boxes, strict=True))
    rows = list(expected)
    assert len(rest) == len(rows)
    for label, probability, *box in rows:
        same = [
            place
            for place, (found_label, found_score, found_box) in enumerate(rest)
            if found_label == label
            and abs(found_score - probability) <= score
            and np.abs(found_box - np.array(box)).max() <= pixels
        ]
        assert same, f"not found: label {label}, score {probability}, box {box}"
        del rest[same[0]]


def clear_threshold(scores: Sequence[float], first: int, last: int) -> float:
    """Return the middle of the widest gap between the scores of the `first` and the `last` best detection.

    No rounding error moves a score across it.
    """
    falling = np.sort(scores)[::-1][first - 1 : last]
    place = int(np.argmax(falling[:-1] - falling[1:]))
    return float(falling[place] + falling[place + 1]) / 2
