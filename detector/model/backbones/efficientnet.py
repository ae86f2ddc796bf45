"""EfficientNet-Lite0, the default backbone: it is fast on CPUs, and its ImageNet weights are in a package."""

from __future__ import annotations

import timm
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from detector.common.errors import WeightsError
from detector.model.backbones.frozen import freeze_statistics
from detector.model.backbones.trunk import Trunk
from detector.model.backbones.weights import State, first
from detector.model.depthwise import DepthwiseConv


class EfficientNetLite0(Trunk):
    """EfficientNet-Lite0 without its classifier (Tan and Le 2019), with maps at strides 8, 16 and 32.

    The Lite variant has ReLU6 and no squeeze-and-excitation, so that it is fast on CPUs. It was trained with the
    pipeline's normalisation.
    """

    def __init__(self, network: nn.Module) -> None:
        _replace_convolutions(network)
        freeze_statistics(network)
        part = network.get_submodule
        # bn1 includes the activation. The maps are those of the last blocks at strides 8, 16 and 32.
        super().__init__(None, [part("conv_stem"), part("bn1")], list(part("blocks").children()), taps=(2, 4, 6))


def efficientnet_lite0(state: State | None) -> nn.Module:
    """Return the trunk; state: the weights, or None for random ones."""
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    if state is not None:
        fill_by_position(network, state)
    return EfficientNetLite0(network)


def fill_by_position(network: nn.Module, state: State) -> None:
    """Load `state` into timm's network; the names of its tensors differ, but their order is the same.

    Raises WeightsError, which names the first tensors that differ.
    """
    own = network.state_dict()
    shapes = [(name, tuple(value.shape)) for name, value in own.items()]
    given = [(name, tuple(value.shape)) for name, value in state.tensors.items()]
    wrong = [
        f"{theirs} is {there}, {ours} {here}"
        for (theirs, there), (ours, here) in zip(given, shapes, strict=False)
        if there != here
    ]
    if len(given) != len(shapes):
        wrong.append(f"{len(given)} tensors, not {len(shapes)}")
    if wrong:
        raise WeightsError(f"{state.origin} does not hold EfficientNet-Lite0: {first(wrong)}")
    network.load_state_dict(dict(zip(own, state.tensors.values(), strict=True)))


def _replace_convolutions(network: nn.Module) -> None:
    """Replace depthwise convolutions, which stay in float32, and those with TensorFlow's "SAME" padding.

    That padding depends on the size; if the stride divides the sides, it is the constant that is set here.
    """
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
