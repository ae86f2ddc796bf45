"""Inception networks: GoogLeNet (Szegedy et al., CVPR 2015), v3 (CVPR 2016) and v4 (AAAI 2017)."""

from __future__ import annotations

from collections.abc import Iterable

import timm
from torch import nn
from torchvision import models

from detector.model.backbones.frozen import freeze_statistics
from detector.model.backbones.trunk import SLIM, Trunk, initialise
from detector.model.backbones.weights import State, fill


def googlenet(state: State | None) -> nn.Module:
    """Return the trunk; state: the weights, or None for random ones.

    The stem is everything before the first inception module. The blocks are the nine modules, with the pooling before
    them.
    """
    # Its poolings round sizes up, so that a multiple of 32 is halved exactly five times.
    network = models.googlenet(weights=None, aux_logits=False, init_weights=False)
    network.fc = nn.Identity()
    _start(network, state, without=("fc.", "aux1.", "aux2."))
    part = network.get_submodule
    blocks: list[nn.Module] = [part(f"inception{name}") for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e")]
    blocks[2] = nn.Sequential(part("maxpool3"), blocks[2])
    blocks += [nn.Sequential(part("maxpool4"), part("inception5a")), part("inception5b")]
    stem = [part(name) for name in ("conv1", "maxpool1", "conv2", "conv3", "maxpool2")]
    return Trunk(SLIM, stem, blocks, taps=(1, 6, 8))


def inception_v3(state: State | None) -> nn.Module:
    """Return the trunk; state: the weights, or None for random ones.

    The stem is everything before the first inception module. The blocks are the eleven modules Mixed_5b to Mixed_7c.
    """
    network = models.inception_v3(weights=None, aux_logits=False, init_weights=False)
    network.fc = nn.Identity()
    _start(network, state, without=("fc.", "AuxLogits."))
    part = network.get_submodule
    _pad([part("Conv2d_2a_3x3"), part("Conv2d_4a_3x3")])
    stem = [
        _padded(part("Conv2d_1a_3x3")), part("Conv2d_2a_3x3"), part("Conv2d_2b_3x3"), _padded(part("maxpool1")),
        part("Conv2d_3b_1x1"), part("Conv2d_4a_3x3"), _padded(part("maxpool2")),
    ]  # fmt: skip
    blocks: list[nn.Module] = [part(f"Mixed_{name}") for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e")]
    blocks += [part(f"Mixed_{name}") for name in ("7a", "7b", "7c")]
    blocks[3], blocks[8] = _padded(blocks[3]), _padded(blocks[8])  # these two halve the size
    return Trunk(SLIM, stem, blocks, taps=(2, 7, 10))


def inception_v4(state: State | None) -> nn.Module:
    """Return the trunk; state: the weights, or None for random ones.

    The stem is everything before the first Inception-A. The blocks are four A, a reduction, seven B, a reduction and
    three C.
    """
    network = timm.create_model("inception_v4", pretrained=False, num_classes=0)
    _start(network, state, without=("last_linear.",))
    parts = list(network.get_submodule("features").children())
    # Convolutions without padding that keep the size: the network's second, and the last of each branch of Mixed4a.
    _pad([parts[1], *(list(branch.children())[-1] for branch in parts[4].children())])
    for index in (0, 3, 5, 10, 18):  # these halve the size
        parts[index] = _padded(parts[index])
    return Trunk(SLIM, parts[:6], parts[6:], taps=(3, 11, 15))


def _start(network: nn.Module, state: State | None, without: tuple[str, ...]) -> None:
    """Load or initialise the weights, and freeze the statistics."""
    if state is None:
        initialise(network)
    else:
        fill(network, state, without)
    freeze_statistics(network)


# The Inceptions have little padding, so that 299 pixels become 8. Detection needs maps that cover the image exactly.
# Therefore they get TensorFlow's "SAME" padding here, which is a constant for even sizes. Weights do not change.


def _pad(blocks: Iterable[nn.Module]) -> None:
    """Give 3x3 convolutions a border of one, which keeps the size."""
    for block in blocks:
        convolution = block.get_submodule("conv")
        assert isinstance(convolution, nn.Conv2d) and convolution.kernel_size == (3, 3)
        convolution.padding = (1, 1)


def _padded(block: nn.Module) -> nn.Module:
    """Add a row and a column of zeros before 3x3 windows that halve; after a ReLU they change no maximum."""
    return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), block)
