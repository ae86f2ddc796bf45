"""Computes 1x1 convolutions as matrix products, for a training with one thread.

With one thread and fewer than 16 images in a batch, torch computes float32 1x1 convolutions without oneDNN and copies
their input, which takes 27 % of a training step. On channels-last maps they are one matrix product without a copy,
which saves a sixth of the step (docs/benchmarks.md).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class _Pointwise(nn.Conv2d):
    """A 1x1 convolution with stride 1; parameters and their names are those of `nn.Conv2d`."""

    def forward(self, maps: Tensor) -> Tensor:  # (B, C, H, W) -> (B, D, H, W)
        weight = self.weight.flatten(1)  # (D, C)
        return functional.linear(maps.permute(0, 2, 3, 1), weight, self.bias).permute(0, 3, 1, 2)


def multiply_pointwise(network: nn.Module) -> None:
    """Change every plain 1x1 convolution of the network, in place, to compute a matrix product; for training only."""
    for module in network.modules():
        if type(module) is nn.Conv2d and (module.kernel_size, module.stride, module.groups, module.padding) == (
            (1, 1),
            (1, 1),
            1,
            (0, 0),
        ):
            module.__class__ = _Pointwise
