import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from detector.export.half_weights import store_in_half


def test_weights_become_halves_and_the_graph_computes_with_them() -> None:
    random = np.random.default_rng(0)
    weights, shift = random.normal(0, 1, (64, 32)).astype(np.float32), random.normal(0, 1, 32).astype(np.float32)
    large = np.full((64, 32), 70_000, np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "weights"], ["a"]),
        helper.make_node("Add", ["a", "shift"], ["b"]),
        helper.make_node("MatMul", ["x", "large"], ["c"]),
        helper.make_node("Add", ["b", "c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 32])],
        [numpy_helper.from_array(v, n) for n, v in (("weights", weights), ("shift", shift), ("large", large))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    before = len(model.SerializeToString())
    store_in_half(model)
    onnx.checker.check_model(model)
    assert len(model.SerializeToString()) < before - weights.nbytes // 2 + 300
    types = {item.name: item.data_type for item in model.graph.initializer}
    assert types == {"weights.half": TensorProto.FLOAT16, "shift": TensorProto.FLOAT, "large": TensorProto.FLOAT}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = random.normal(0, 1e-3, (3, 64)).astype(np.float32)
    expected = x @ weights.astype(np.float16).astype(np.float32) + shift + x @ large
    np.testing.assert_allclose(session.run(["y"], {"x": x})[0], expected, rtol=1e-4, atol=1e-3)
