"""The common part of the trunks: an input scale, a stem, and blocks, some of whose maps are returned."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detector.runtime.images import MEAN, SCALE

# Mean and deviation of RGB in [0, 1] with which weights were trained: IMAGENET for those that torchvision trained,
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# SLIM for those of TensorFlow's slim (GoogLeNet and the Inceptions), which maps RGB to [-1, 1].
SLIM = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]


class InputScale(nn.Module):
    """Converts the pipeline's normalisation into that of the weights, by one factor and one shift for each channel.

    The zeros that `normalise` pads an image with are the mean colour, 127, before and after.
    """

    factor: Tensor
    shift: Tensor

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        mean, deviation = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in statistics)
        # A pixel of 0 to 255 is x / SCALE + MEAN. These constants belong to the architecture, not to the state dict.
        self.register_buffer("factor", (1 / (255 * float(SCALE)) / deviation).float(), persistent=False)
        self.register_buffer("shift", ((float(MEAN) / 255 - mean) / deviation).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, H, W)
        return images * self.factor + self.shift


class Trunk(nn.Module):
    """A classification network without its classifier."""

    def __init__(
        self,
        statistics: Statistics | None,
        stem: Sequence[nn.Module],
        blocks: Sequence[nn.Module],
        taps: tuple[int, int, int],
    ) -> None:
        """Build the trunk; statistics: None for weights that were trained with the pipeline's normalisation.

        taps: the indices of the blocks whose maps, at strides 8, 16 and 32, are returned.
        """
        super().__init__()
        self.scale = InputScale(statistics) if statistics else nn.Identity()
        self.stem = nn.Sequential(*stem)
        self.blocks = nn.ModuleList(blocks)
        self.taps = taps

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.stem(self.scale(images))
        features = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.taps:
                features.append(x)
        return features

    def freeze(self, blocks: int) -> None:
        """Do not train the stem and the first `blocks` blocks, or all if there are fewer."""
        for part in [self.stem, *list(self.blocks)[:blocks]]:
            part.requires_grad_(False)


def initialise(network: nn.Module) -> None:
    """Initialise the convolutions as He et al., ICCV 2015, which keeps the size of activations through many layers.

    This is for networks without weights: with frozen statistics no batch normalisation restores a vanishing signal.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
