"""Parameters, operations and layers, counted on the real modules. On torch's meta device: shapes without numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from detector.compare.backbones.classifiers import Classifier


@dataclass(frozen=True)
class Count:
    """What one network is made of, and what one image costs."""

    parameters: int  # without auxiliary classifiers, which only training uses
    auxiliary: int  # parameters of those
    operations: int  # multiplications and additions of a forward pass, each counted as one
    layers: int  # convolutions and fully connected layers on the longest way through


def count(classifier: Classifier) -> Count:
    """Count one network at its published input size."""
    with torch.device("meta"), torch.no_grad():  # inference_mode would hide convolutions inside of larger operations
        network = classifier.build(False).eval()
        whole = _parameters(classifier.build(True))
        image = torch.zeros(1, 3, classifier.size, classifier.size)
        # torch counts the matrix products and convolutions, two operations for each multiply-add.
        with FlopCounterMode(display=False) as operations:
            network(image)
        with _Depth() as depth:
            network(image)
    parameters = _parameters(network)
    return Count(parameters, whole - parameters, operations.get_total_flops(), depth.deepest)


def _parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


_WEIGHTED = ("aten::convolution", "aten::addmm", "aten::mm")


class _Depth(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Longest chain of weighted layers: a result lies as deep as the deepest of what it is made of, and a weighted
    layer one deeper."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.deepest = 0
        self._depth: dict[int, tuple[Tensor, int]] = {}  # by id; the tensor is kept, so that no other gets its id

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = (self._depth[id(x)][1] for x in tree_leaves((args, kwargs)) if id(x) in self._depth)
        depth = max(inputs, default=0) + (func.name().split(".")[0] in _WEIGHTED)
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._depth[id(tensor)] = tensor, depth
        self.deepest = max(self.deepest, depth)
        return result
