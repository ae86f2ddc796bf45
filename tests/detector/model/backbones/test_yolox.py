"""YOLOX-Nano's trunk and neck, filled from a graph of the whole detector."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from detector.common.errors import WeightsError
from detector.model.backbones import BACKBONES
from detector.model.backbones.yolox import YoloxNano
from detector.runtime.images import MEAN, SCALE

FOCUS = (16, 12, 3, 3)


def shapes() -> list[tuple[int, ...]]:
    """The convolutions of the detector: those of the trunk and neck, and one of its head."""
    own = [tuple(layer.weight.shape) for layer in YoloxNano().modules() if isinstance(layer, nn.Conv2d)]
    return [FOCUS, *own[1:], (64, 64, 1, 1)]


def graph(path: Path, convolutions: list[tuple[int, ...]]) -> list[tuple[Tensor, Tensor]]:
    """Write a graph of unconnected convolutions with a sigmoid after each; returns their weights and biases."""
    random = np.random.default_rng(0)
    nodes, stored, values = [], [], []
    for number, shape in enumerate(convolutions):
        weight = (random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        bias = random.normal(size=shape[0]).astype(np.float32)
        # Exporters write the tensors in any order; the nodes have that of the computation.
        stored.insert(0, numpy_helper.from_array(weight, f"w{number}"))
        stored.append(numpy_helper.from_array(bias, f"b{number}"))
        nodes.append(helper.make_node("Conv", [f"x{number}", f"w{number}", f"b{number}"], [f"y{number}"]))
        nodes.append(helper.make_node("Sigmoid", [f"y{number}"], [f"z{number}"]))
        values.append((torch.from_numpy(weight), torch.from_numpy(bias)))
    output = helper.make_tensor_value_info("z0", TensorProto.FLOAT, None)
    onnx.save(helper.make_model(helper.make_graph(nodes, "detector", [], [output], stored)), path)
    return values


def test_the_convolutions_of_a_graph_are_taken_in_their_order(tmp_path: Path) -> None:
    values = graph(tmp_path / "yolox_nano.onnx", shapes())
    network = BACKBONES["yolox_nano"].build(str(tmp_path / "yolox_nano.onnx"))
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert len(layers) == len(values) - 1  # without the head
    for layer, (weight, bias) in list(zip(layers, values, strict=False))[1:]:
        assert layer.bias is not None
        assert torch.equal(layer.weight, weight) and torch.equal(layer.bias, bias)


def test_the_first_layer_computes_what_the_detectors_computes(tmp_path: Path) -> None:
    """There, pixels of 0 to 255 in the order blue, green, red are moved from 2 x 2 places into channels."""
    (weight, bias), *_ = graph(tmp_path / "own.onnx", shapes())
    network = BACKBONES["yolox_nano"].build(str(tmp_path / "own.onnx"))
    rgb = torch.randint(0, 256, (2, 3, 64, 96), generator=torch.Generator().manual_seed(1)).float()
    bgr = rgb.flip(1)
    places = [bgr[..., y::2, x::2] for x, y in ((0, 0), (0, 1), (1, 0), (1, 1))]
    expected = nn.functional.silu(nn.functional.conv2d(torch.cat(places, 1), weight, bias, padding=1))
    with torch.no_grad():
        found = network.stem(network.scale((rgb - float(MEAN)) * float(SCALE)))  # type: ignore[operator]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_each_map_depends_on_the_whole_image() -> None:
    """The neck brings the coarsest map to the finest one and back, so that one corner changes every place."""
    torch.manual_seed(0)
    network = BACKBONES["yolox_nano"].build("none").eval()
    image = torch.zeros(1, 3, 128, 128)
    other = image.clone()
    other[..., -8:, -8:] = 1.0
    with torch.no_grad():
        changed = [(a - b).abs().amax(1)[0] for a, b in zip(network(image), network(other), strict=True)]
    assert all(place[0, 0] > 0 for place in changed)


@pytest.mark.parametrize(
    ("convolutions", "message"),
    [
        ([(8, 3, 3, 3)], r"tensor 1 is \(8, 3, 3, 3\), stem\.0\.weight \(16, 3, 6, 6\); tensor 2 is \(8,\)"),
        ([FOCUS], r"own\.onnx does not hold YOLOX-Nano: 2 tensors, not \d+ or more"),
        ([], r"own\.onnx does not hold YOLOX-Nano: 0 tensors, not \d+ or more"),
    ],
)
def test_a_graph_of_another_network_is_refused(
    convolutions: list[tuple[int, ...]], message: str, tmp_path: Path
) -> None:
    graph(tmp_path / "own.onnx", convolutions or [])
    with pytest.raises(WeightsError, match=message):
        BACKBONES["yolox_nano"].build(str(tmp_path / "own.onnx"))


def test_a_damaged_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.onnx").write_bytes(b"no graph")
    with pytest.raises(WeightsError, match=r"own\.onnx does not hold weights"):
        BACKBONES["yolox_nano"].build(str(tmp_path / "own.onnx"))


def test_imagenet_weights_do_not_exist() -> None:
    with pytest.raises(WeightsError, match=r"no ImageNet weights: set model\.start_from to yolox_nano\.onnx"):
        BACKBONES["yolox_nano"].build("imagenet")
