"""Writes small ONNX files whose outputs are constants: what a detector of others looks like from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from onnx import ModelProto, TensorProto, helper, numpy_helper


def onnx_model(
    outputs: Mapping[str, ArrayLike],
    size: Sequence[int | str] = (1, 3, 64, 64),
    *,
    metadata: Mapping[str, str] | None = None,
    nodes: Sequence[Any] = (),
    inputs: Mapping[str, Sequence[int | str]] | None = None,
    takes: int = TensorProto.FLOAT,
) -> ModelProto:
    """Return a model that gives these outputs for every image.

    size, takes: shape and type of its input `images`; inputs: further ones; nodes: further ones, before the outputs.
    """
    shapes = {"images": size} | dict(inputs or {})
    arrays = {name: np.asarray(value, None if hasattr(value, "dtype") else np.float32)
              for name, value in outputs.items()}  # fmt: skip
    constants = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, f"{name}_value"))
        for name, value in arrays.items()
    ]
    graph = helper.make_graph(
        [*nodes, *constants],
        "made",
        [helper.make_tensor_value_info(name, takes, shape) for name, shape in shapes.items()],
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in arrays.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="tests")
    helper.set_model_props(model, dict(metadata or {}))
    return model


def write_onnx(
    path: Path, outputs: Mapping[str, ArrayLike], size: Sequence[int | str] = (1, 3, 64, 64), **more: Any
) -> Path:
    """Write `onnx_model` to a file."""
    path.write_bytes(onnx_model(outputs, size, **more).SerializeToString())
    return path
