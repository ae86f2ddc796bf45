"""Residual networks (He et al., CVPR 2016)."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from detector.model.backbones.frozen import freeze_statistics
from detector.model.backbones.trunk import IMAGENET, Trunk
from detector.model.backbones.weights import State, fill


def resnet(build: Callable[..., nn.Module], state: State | None) -> nn.Module:
    """Return the trunk, from torchvision's `build`; state: the weights, or None for random ones.

    The stem is the first convolution and pooling. The blocks are the four stages conv2_x to conv5_x.
    """
    # Without weights each residual branch starts at zero (Goyal et al. 2017). Otherwise, with frozen statistics, the
    # sums of dozens of blocks would become too large.
    network = build(weights=None, zero_init_residual=state is None)
    network.fc = nn.Identity()
    if state is not None:
        fill(network, state, without=("fc.",))
    freeze_statistics(network)
    part = network.get_submodule
    stem = [part(name) for name in ("conv1", "bn1", "relu", "maxpool")]
    return Trunk(IMAGENET, stem, [part(f"layer{number}") for number in range(1, 5)], taps=(1, 2, 3))
