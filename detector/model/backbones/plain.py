"""Chains of convolutions and poolings: AlexNet (Krizhevsky et al. 2012, as in Krizhevsky 2014) and VGG (Simonyan and
Zisserman 2015)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn
from torchvision import models

from detector.model.backbones.trunk import IMAGENET, Trunk, initialise
from detector.model.backbones.weights import State, fill


def alexnet(state: State | None) -> nn.Module:
    """Return the trunk; state: the weights, or None for random ones.

    The stem is the first convolution. The blocks are the other four, each with the pooling before it, and the last
    pooling.
    """
    features = _features(models.alexnet, state)
    # It was trained with padding 2 on 224 pixels, which gives 55 = 224 / 4 - 1. With padding 4 the size is exactly a
    # quarter, and each output is half a pixel away from the middle of its 4 x 4 pixels.
    features[0].padding = (4, 4)  # type: ignore[assignment]
    for module in features:
        if isinstance(module, nn.MaxPool2d):
            # It halves even sizes: the windows are those of training, and one more at the end, beyond the edge.
            module.ceil_mode = True
    stem, *blocks = _parts(features, (2, 5, 8, 10, 12))
    return Trunk(IMAGENET, stem, [nn.Sequential(*block) for block in blocks], taps=(0, 3, 4))


def vgg(build: Callable[..., nn.Module], state: State | None) -> nn.Module:
    """Return the trunk of VGG-16 or VGG-19, from torchvision's `build`; state: the weights, or None for random ones.

    The stem is the convolutions at full resolution. The blocks are those of each halved resolution, with the pooling
    before them, and the last pooling.
    """
    features = _features(build, state)
    starts = tuple(index for index, module in enumerate(features) if isinstance(module, nn.MaxPool2d))
    stem, *blocks = _parts(features, starts)
    return Trunk(IMAGENET, stem, [nn.Sequential(*block) for block in blocks], taps=(2, 3, 4))


def _features(build: Callable[..., nn.Module], state: State | None) -> nn.Sequential:
    """Return torchvision's `features`; the fully connected layers, 90 % of all parameters, never use memory."""
    with torch.device("meta"):
        features = build(weights=None).features
    assert isinstance(features, nn.Sequential)
    features.to_empty(device="cpu")
    if state is None:
        initialise(features)
    else:
        fill(nn.ModuleDict({"features": features}), state, without=("classifier.",))
    return features


def _parts(features: nn.Sequential, starts: tuple[int, ...]) -> list[list[nn.Module]]:
    """Split the chain before each of `starts`."""
    cuts = [0, *starts, len(features)]
    return [list(features[low:high]) for low, high in pairwise(cuts)]
