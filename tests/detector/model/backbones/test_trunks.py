"""Every row of the table, and each kind of trunk against the network that it is made from."""

from collections.abc import Callable
from typing import get_args

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from detector.model.backbones import BACKBONES
from detector.model.backbones.frozen import FrozenBatchNorm
from detector.model.backbones.inception import googlenet, inception_v3, inception_v4
from detector.model.backbones.plain import alexnet, vgg
from detector.model.backbones.resnet import resnet
from detector.model.backbones.trunk import IMAGENET, SLIM, InputScale, Statistics
from detector.model.backbones.weights import State
from detector.params import ModelSettings
from detector.runtime.images import MEAN, SCALE

pytestmark = pytest.mark.slow

BLOCKS = {
    "alexnet": 5, "vgg16": 5, "vgg19": 5, "googlenet": 9, "inception_v3": 11, "inception_v4": 16, "resnet18": 4,
    "resnet50": 4, "resnet101": 4, "resnet152": 4, "efficientnet_lite0": 7, "yolox_nano": 5,
}  # fmt: skip
# Blocks of poolings alone.
EMPTY = {"alexnet": {4}, "vgg16": {4}, "vgg19": {4}}


def normalise(pixels: Tensor, statistics: Statistics) -> Tensor:
    """RGB in [0, 255], (B, 3, H, W), as a library does before its network."""
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in statistics)
    return (pixels / 255 - mean) / deviation


def as_the_pipeline(pixels: Tensor) -> Tensor:
    return (pixels - float(MEAN)) * float(SCALE)


def pixels(height: int, width: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, 3, height, width), generator=generator).float()


def pretrained_like(network: nn.Module) -> nn.Module:
    """Weights that keep activations at size 1, and statistics that no default has."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.9, 1.1, generator=generator)
            nn.init.uniform_(module.weight, 0.8, 1.1, generator=generator)
            nn.init.normal_(module.bias, 0, 0.1, generator=generator)
    return network.eval()


def state_of(network: nn.Module) -> State:
    return State(network.state_dict(), "test")


def test_settings_know_exactly_the_backbones_of_the_table() -> None:
    assert get_args(ModelSettings.model_fields["backbone"].annotation) == tuple(BACKBONES)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_row_of_the_table(name: str) -> None:
    """One test, because building the large ones takes time: maps, statistics, freezing."""
    torch.manual_seed(0)
    row = BACKBONES[name]
    network = row.build("none")
    images = as_the_pipeline(pixels(64, 96, batch=2))
    with torch.no_grad():
        in_training, features = network.train()(images), network.eval()(images)
    assert row.strides == (8, 16, 32)
    assert [tuple(f.shape) for f in features] == [
        (2, channels, 64 // stride, 96 // stride) for channels, stride in zip(row.channels, row.strides, strict=True)
    ]
    # Random weights neither lose the signal nor blow it up, whatever the depth.
    assert all(0.01 < f.std() < 100 for f in features)
    for a, b in zip(in_training, features, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())

    parts = [network.stem, *network.blocks]
    assert len(parts) == 1 + BLOCKS[name]
    network.freeze(2)
    kept = [not any(p.requires_grad for p in part.parameters()) for part in parts]
    assert kept == [True] * 3 + [index in EMPTY.get(name, ()) for index in range(2, BLOCKS[name])]
    network.freeze(1000)
    assert not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "resnet18"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 96), (160, 96)])
def test_maps_fit_at_every_multiple_of_32(name: str, height: int, width: int) -> None:
    row = BACKBONES[name]
    with torch.no_grad():
        features = row.build("none")(torch.zeros(1, 3, height, width))
    assert [tuple(f.shape[2:]) for f in features] == [(height // s, width // s) for s in row.strides]


def test_gradients_reach_what_is_not_frozen_and_nothing_else() -> None:
    trunk = BACKBONES["googlenet"].build("none")
    trunk.freeze(3)
    sum(f.sum() for f in trunk(as_the_pipeline(pixels(32, 64)))).backward()
    moved = [any(p.grad is not None and p.grad.abs().sum() > 0 for p in b.parameters()) for b in trunk.blocks]
    assert moved == [False] * 3 + [True] * 6
    assert all(p.grad is None for p in trunk.stem.parameters())


@pytest.mark.parametrize("statistics", [IMAGENET, SLIM])
def test_weights_see_the_normalisation_that_they_were_trained_with(statistics: Statistics) -> None:
    image = pixels(5, 7, batch=2)
    found = InputScale(statistics)(as_the_pipeline(image))
    torch.testing.assert_close(found, normalise(image, statistics), rtol=1e-5, atol=1e-5)


def test_the_libraries_still_normalise_as_the_trunks_assume() -> None:
    for name in ("alexnet", "vgg16", "vgg19", "resnet18", "resnet50", "resnet101", "resnet152"):
        transform = BACKBONES[name].imagenet.entry.transforms()  # type: ignore[attr-defined]
        assert (tuple(transform.mean), tuple(transform.std)) == IMAGENET, name
    config = timm.models.get_pretrained_cfg("inception_v4")
    assert (config.mean, config.std) == SLIM


@pytest.mark.parametrize(
    ("make", "build", "taps", "statistics"),
    [
        (alexnet, models.alexnet, None, IMAGENET),
        (lambda state: vgg(models.vgg16, state), models.vgg16, (22, 29, 30), IMAGENET),
    ],
)
def test_a_chain_is_torchvisions(
    make: Callable[[State], nn.Module],
    build: Callable[..., nn.Module],
    taps: tuple[int, ...] | None,
    statistics: Statistics,
) -> None:
    with torch.device("meta"):
        features = build(weights=None).features
    assert isinstance(features, nn.Sequential)
    features.to_empty(device="cpu")
    for module in features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.normal_(module.bias, 0, 0.1)  # type: ignore[arg-type]
    trunk = make(state_of(nn.ModuleDict({"features": features})))
    image = pixels(64, 96)
    if taps is None:  # AlexNet's sizes are corrected; with its own first padding only the ends of the poolings differ
        trunk.stem[0].padding = (2, 2)
        image = pixels(63, 63)  # torchvision's sizes 15, 7, 3, 1: no window reaches over an edge
        taps = (4, 11, 12)
    expected, x = [], normalise(image, statistics)
    with torch.no_grad():
        for index, module in enumerate(features):
            x = module(x)
            if index in taps:
                expected.append(x.clone())
        found = trunk(as_the_pipeline(image))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_a_residual_network_is_torchvisions() -> None:
    reference = pretrained_like(models.resnet18(weights=None))
    trunk = resnet(models.resnet18, state_of(reference))
    image = pixels(64, 96)
    with torch.no_grad():
        last = trunk(as_the_pipeline(image))[-1]
        found = reference.fc(last.mean(dim=(2, 3)))
        expected = reference(normalise(image, IMAGENET))
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [(64, 96), (224, 224)])
def test_googlenet_is_torchvisions_with_its_own_input(size: tuple[int, int]) -> None:
    # torchvision builds it for its weights with auxiliary classifiers, which are in the file, and transform_input.
    whole = pretrained_like(models.googlenet(weights=None, aux_logits=True, transform_input=True, init_weights=False))
    trunk = googlenet(state_of(whole))
    image = pixels(*size)
    with torch.no_grad():
        found = whole.fc(trunk(as_the_pipeline(image))[-1].mean(dim=(2, 3)))
        expected = whole(normalise(image, IMAGENET))
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def _as_published(trunk: nn.Module, paddings: dict[tuple[int, ...], list[object]]) -> None:
    """Take away the padding that makes sizes exact."""
    for module in trunk.modules():
        if isinstance(module, nn.ZeroPad2d):
            module.padding = (0, 0, 0, 0)
        if isinstance(module, nn.Conv2d):
            module.padding = paddings[tuple(module.weight.shape)].pop(0)  # type: ignore[assignment]


def _paddings(network: nn.Module) -> dict[tuple[int, ...], list[object]]:
    """Return the shapes of the weights of all convolutions, in order."""
    found: dict[tuple[int, ...], list[object]] = {}
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            found.setdefault(tuple(module.weight.shape), []).append(module.padding)
    return found


@pytest.mark.parametrize(
    ("make", "build", "given"),
    [
        (
            inception_v3,
            lambda: models.inception_v3(weights=None, aux_logits=True, transform_input=True, init_weights=False),
            IMAGENET,  # which transform_input turns into SLIM
        ),
        (inception_v4, lambda: timm.create_model("inception_v4", pretrained=False), SLIM),
    ],
)
def test_an_inception_without_the_padding_of_the_trunk_is_the_librarys(
    make: Callable[[State], nn.Module], build: Callable[[], nn.Module], given: Statistics
) -> None:
    whole = pretrained_like(build())
    trunk = make(state_of(whole))
    padded = [m for m in trunk.modules() if isinstance(m, nn.ZeroPad2d)]
    assert len(padded) == 5  # each halving once
    _as_published(trunk, _paddings(whole))
    image = pixels(107, 139)
    with torch.no_grad():
        classifier = whole.fc if hasattr(whole, "fc") else whole.last_linear
        found = classifier(trunk(as_the_pipeline(image))[-1].mean(dim=(2, 3)))  # type: ignore[operator]
        expected = whole(normalise(image, given))
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_frozen_normalisation_is_pytorchs_in_evaluation() -> None:
    norm = pretrained_like(nn.Sequential(nn.BatchNorm2d(4, eps=0.01)))[0]  # type: ignore[index]
    x = torch.randn(2, 4, 3, 5)
    torch.testing.assert_close(FrozenBatchNorm(norm).train()(x), norm(x))
