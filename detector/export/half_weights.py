"""Stores the weights of an ONNX graph in half precision, which halves its size; it still computes in float32."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Smaller constants, such as anchors, sizes and scales, stay in float32.
_FEWEST = 1024
_LARGEST = float(np.finfo(np.float16).max)


def store_in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn large float32 weights into float16, in place, and return the model.

    Each gets a cast to float32, which ONNX Runtime computes once, when it loads the graph. A tensor with a value beyond
    float16's range (65,504) is not changed.
    """
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _FEWEST or float(np.abs(values).max()) > _LARGEST:
            continue
        name, stored = tensor.name, f"{tensor.name}.half"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model
