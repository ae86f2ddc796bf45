"""The trunk and neck of YOLOX-Nano (Ge et al. 2021, "YOLOX: Exceeding YOLO Series in 2021"): CSPDarknet with depthwise
convolutions, and a path aggregation network.

Shapes: B images, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detector.common.errors import WeightsError
from detector.model.backbones.trunk import Trunk, initialise
from detector.model.backbones.weights import State, first
from detector.model.depthwise import DepthwiseConv
from detector.runtime.images import SCALE

# The weights were trained with pixels of 0 to 255.
_PIXELS = ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
_POOLS = (5, 9, 13)
# SiLU passes less than the ReLU for which random weights are drawn; found by trial over seeds.
_RANDOM_GAIN = 1.08
# The shape of the first convolution, which reads 2 x 2 pixels of three colours.
_FOCUS = (16, 12, 3, 3)


class YoloxNano(Trunk):
    """Maps at strides 8, 16 and 32, which have been through the neck: each has seen the finer and the coarser ones.

    The blocks are four stages and the neck. Batch normalisation is part of the convolutions' weights, so that its
    statistics are frozen.
    """

    def __init__(self) -> None:
        # In YOLOX, 2 x 2 pixels are moved into 12 channels before a 3x3 convolution, which computes the same.
        stem = _convolution(3, 16, 6, stride=2, padding=2)
        stages = [
            nn.Sequential(_separable(16, 32, stride=2), _Partial(32, 32, 1)),
            nn.Sequential(_separable(32, 64, stride=2), _Partial(64, 64, 3)),
            nn.Sequential(_separable(64, 128, stride=2), _Partial(128, 128, 3)),
            nn.Sequential(_separable(128, 256, stride=2), _PyramidPooling(256), _Partial(256, 256, 1, shortcut=False)),
        ]
        super().__init__(_PIXELS, list(stem), [*stages, _Neck()], taps=(1, 2, 3))

    def forward(self, images: Tensor) -> list[Tensor]:  # (B, 3, H, W)
        *stages, neck = self.blocks
        x = self.stem(self.scale(images))
        maps = []
        for index, stage in enumerate(stages):
            x = stage(x)
            if index in self.taps:
                maps.append(x)
        found: list[Tensor] = neck(maps)
        return found


class _Neck(nn.Module):
    """The path aggregation network (Liu et al., CVPR 2018), down to the finest map and up again."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow_coarse = _convolution(256, 128)
        self.down_middle = _Partial(256, 128, 1, shortcut=False)
        self.narrow_middle = _convolution(128, 64)
        self.down_fine = _Partial(128, 64, 1, shortcut=False)
        self.halve_fine = _separable(64, 64, stride=2)
        self.up_middle = _Partial(128, 128, 1, shortcut=False)
        self.halve_middle = _separable(128, 128, stride=2)
        self.up_coarse = _Partial(256, 256, 1, shortcut=False)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = maps
        narrow_coarse = self.narrow_coarse(coarse)
        middle = self.down_middle(torch.cat([_doubled(narrow_coarse), middle], 1))
        narrow_middle = self.narrow_middle(middle)
        fine = self.down_fine(torch.cat([_doubled(narrow_middle), fine], 1))
        middle = self.up_middle(torch.cat([self.halve_fine(fine), narrow_middle], 1))
        coarse = self.up_coarse(torch.cat([self.halve_middle(middle), narrow_coarse], 1))
        return [fine, middle, coarse]


class _Partial(nn.Module):
    """A cross-stage partial block (Wang et al., CVPRW 2020): bottlenecks on one half of the channels."""

    def __init__(self, inputs: int, outputs: int, count: int, shortcut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.main = _convolution(inputs, half)
        self.side = _convolution(inputs, half)
        self.bottlenecks = nn.Sequential(*(_Bottleneck(half, shortcut) for _ in range(count)))
        self.join = _convolution(2 * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        joined: Tensor = self.join(torch.cat([self.bottlenecks(self.main(x)), self.side(x)], 1))
        return joined


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(_convolution(channels, channels), _separable(channels, channels))
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.shortcut else y


class _PyramidPooling(nn.Module):
    """Spatial pyramid pooling (He et al., ECCV 2014): maxima over windows of several sizes beside the map itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = _convolution(channels, channels // 2)
        self.pools = nn.ModuleList(nn.MaxPool2d(size, stride=1, padding=size // 2) for size in _POOLS)
        self.join = _convolution(channels // 2 * (1 + len(_POOLS)), channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.narrow(x)
        joined: Tensor = self.join(torch.cat([x, *(pool(x) for pool in self.pools)], 1))
        return joined


def _convolution(inputs: int, outputs: int, size: int = 1, stride: int = 1, padding: int = 0) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, stride, padding), nn.SiLU(inplace=True))


def _separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    filters = DepthwiseConv(inputs, inputs, 3, stride, padding=1, groups=inputs)
    return nn.Sequential(filters, nn.SiLU(inplace=True), *_convolution(inputs, outputs))


def _doubled(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


def yolox_nano(state: State | None) -> nn.Module:
    """Return the trunk with its neck; state: the convolutions of the whole detector, or None for random weights.

    Raises WeightsError, which names the first layers that differ.
    """
    network = YoloxNano()
    if state is None:
        initialise(network)
        with torch.no_grad():
            for layer in network.modules():
                if isinstance(layer, nn.Conv2d):
                    layer.weight *= _RANDOM_GAIN if layer.in_channels > 3 else float(SCALE)  # the first reads pixels
    else:
        _fill(network, state)
    return network


def _fill(network: YoloxNano, state: State) -> None:
    """Load the first convolutions of `state` in their order, which is that of the layers here; the others are its
    head's."""
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = list(state.tensors.values())
    if given and tuple(given[0].shape) == _FOCUS:
        given[0] = _whole_pixels(given[0])
    wrong = [
        f"tensor {number} is {tuple(value.shape)}, {name} {shape}"
        for number, (value, (name, shape)) in enumerate(zip(given, own.items(), strict=False), start=1)
        if tuple(value.shape) != shape
    ]
    if len(given) < len(own):
        wrong.append(f"{len(given)} tensors, not {len(own)} or more")
    if wrong:
        raise WeightsError(f"{state.origin} does not hold YOLOX-Nano: {first(wrong)}")
    network.load_state_dict(dict(zip(own, given, strict=False)))


def _whole_pixels(weight: Tensor) -> Tensor:
    """Return the first convolution (16, 12, 3, 3) on 2 x 2 pixels as one on pixels, (16, 3, 6, 6).

    The 12 channels are blue, green and red of the pixels at the top left, bottom left, top right and bottom right.
    """
    places = weight.reshape(16, 2, 2, 3, 3, 3).flip(3)  # output, x, y, colour, row, column
    return places.permute(0, 3, 4, 2, 5, 1).reshape(16, 3, 6, 6)
