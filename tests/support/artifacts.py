"""A small real artifact for tests that need a detector and not what it finds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from detector.runtime.artifact import Artifact, save_artifact
from detector.runtime.kinds.rcnn import ProposalSettings, RcnnDecoding
from detector.runtime.preprocess import own_preprocessing

CLASSES = ("cat", "dog", "tree")


def make_artifact(
    folder: Path, *, bias: float = 0.0, proposals: bool = True, classes: tuple[str, ...] = CLASSES
) -> Path:
    """Write a small real artifact, whose scores depend on the image's mean colour and on the proposal's place.

    Without `proposals` the graph proposes two boxes of its own. bias is added to every logit; another bias makes
    another artifact.
    """
    count = len(classes)
    weights = np.linspace(-0.03, 0.03, 4 * count, dtype=np.float32).reshape(4, count)
    colours = np.array([[2, -1, 0], [-1, 2, 0], [0, -1, 2]], np.float32)[:, np.arange(count) % 3]
    own = np.array([[2, 3, 20, 24], [8, 4, 40, 30]], np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),  # (1, 3)
        helper.make_node("MatMul", ["mean", "colours"], ["by_colour"]),  # (1, C)
        helper.make_node("MatMul", ["proposals", "weights"], ["by_place"]),  # (N, C)
        helper.make_node("Add", ["by_colour", "by_place"], ["sum"]),
        helper.make_node("Add", ["sum", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),  # (N, C)
        helper.make_node("Unsqueeze", ["proposals", "axis"], ["one"]),  # (N, 1, 4)
        helper.make_node("Concat", ["one"] * count, ["boxes"], axis=1),  # (N, C, 4)
    ]
    constants = {
        "weights": weights,
        "colours": colours,
        "bias": np.array([bias], np.float32),
        "axis": np.array([1], np.int64),
    }
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "H", "W"])]
    if proposals:
        inputs.append(helper.make_tensor_value_info("proposals", TensorProto.FLOAT, ["N", 4]))
    else:
        constants["proposals"] = own
    outputs = [
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", count]),
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", count, 4]),
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True)
    data: bytes = model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    save_artifact(
        Artifact(
            name="fast_rcnn" if proposals else "faster_rcnn",
            backbone="tiny",
            classes=classes,
            preprocessing=own_preprocessing(64),
            decoding=RcnnDecoding(
                proposals=ProposalSettings(method="selective_search", mode="fast", max_boxes=20, batch=None)
                if proposals
                else None
            ),
            nms_threshold=0.4,
            max_detections=10,
            operating_score=0.3,
            class_scores=dict.fromkeys(classes, 0.3),
            least_score=0.01,
            onnx_sha256=hashlib.sha256(data).hexdigest(),
            git_revision="0" * 40,
            data_digest="d" * 64,
            params_digest="p" * 64,
        ),
        folder,
    )
    return folder


def write_as_version_4(folder: Path) -> None:
    """Write model.json as the release before wrote it."""
    content = json.loads((folder / "model.json").read_text())
    size = content.pop("preprocessing")["width"]
    proposals = content.pop("decoding")["proposals"]
    baseline = content["baseline"] or {"images": 0, "boxes": {}, "sizes": []}
    content |= {"schema_version": 4, "image_size": size, "proposals": proposals, "baseline": baseline}
    (folder / "model.json").write_text(json.dumps(content))
