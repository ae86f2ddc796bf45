from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch

from detector.export.onnx_export import export_onnx
from detector.model.fast_rcnn import FastRCNN


@pytest.fixture(scope="module")
def session(
    network: FastRCNN, exact_session: Callable[..., onnxruntime.InferenceSession]
) -> onnxruntime.InferenceSession:
    return exact_session(network)


@pytest.mark.parametrize("count", [0, 1, 2, 50])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (160, 64)])
def test_onnx_runtime_gives_torchs_numbers(
    network: FastRCNN,
    session: onnxruntime.InferenceSession,
    random_boxes: Callable[..., torch.Tensor],
    height: int,
    width: int,
    count: int,
) -> None:
    image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(height + count))
    proposals = random_boxes(count, height, width)
    with torch.inference_mode():
        scores, boxes = network.detect(image, proposals, 50)
    found_scores, found_boxes = session.run(
        ["scores", "boxes"], {"image": image.numpy(), "proposals": proposals.numpy()}
    )
    assert found_scores.shape == (count, 3) and found_boxes.shape == (count, 3, 4)
    torch.testing.assert_close(torch.from_numpy(found_scores), scores, rtol=0, atol=5e-5)
    torch.testing.assert_close(torch.from_numpy(found_boxes), boxes, rtol=1e-4, atol=5e-3)
    if count > 2:
        assert scores.std() > 0.05  # the comparison is one of numbers that differ


def test_each_pyramid_level_is_read_in_the_graph_too(network: FastRCNN, session: onnxruntime.InferenceSession) -> None:
    image = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    sides = [20.0, 223, 224, 225, 447, 448, 449, 900]
    proposals = torch.tensor([[0, 0, side, side] for side in sides])
    with torch.inference_mode():
        scores, _ = network.detect(image, proposals, 50)
    (found,) = session.run(["scores"], {"image": image.numpy(), "proposals": proposals.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), scores, rtol=0, atol=5e-5)


def test_the_network_stays_in_evaluation_mode(network: FastRCNN, session: onnxruntime.InferenceSession) -> None:
    assert not any(module.training for module in network.modules())


def test_dropout_is_no_part_of_the_graph(new_network: Callable[..., FastRCNN], tmp_path: Path) -> None:
    export_onnx(new_network(dropout=0.9).eval(), tmp_path / "model.onnx", 50)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    feed = {"image": torch.randn(1, 3, 32, 64).numpy(), "proposals": torch.tensor([[3.0, 4, 40, 30]]).numpy()}
    assert (session.run(None, feed)[0] == session.run(None, feed)[0]).all()


def test_weights_in_half_precision_change_little(
    network: FastRCNN,
    session: onnxruntime.InferenceSession,
    random_boxes: Callable[..., torch.Tensor],
    tmp_path: Path,
) -> None:
    export_onnx(network, tmp_path / "model.onnx", 50)
    stored = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    feed = {
        "image": torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(0)).numpy(),
        "proposals": random_boxes(30, 96, 64).numpy(),
    }
    differences = [abs(a - b).max() for a, b in zip(stored.run(None, feed), session.run(None, feed), strict=True)]
    assert 0 < differences[0] < 0.05 and differences[1] < 5
    sizes = [(tmp_path / "model.onnx").stat().st_size, sum(p.numel() * 4 for p in network.parameters())]
    assert sizes[0] < 0.65 * sizes[1]
