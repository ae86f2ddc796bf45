"""Half-precision storage of an ONNX graph's weights: half the bytes, while the sums stay in float32."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Small constants (anchors, sizes, scales) keep every bit.
_FEWEST = 1024
_LARGEST = float(np.finfo(np.float16).max)


def store_in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Large float32 weights become float16 with a cast behind them, which ONNX Runtime folds when it loads the graph.

    A weight beyond float16's range (65,504) stays as it is. The model is changed in place.
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
