"""Counts parameters, operations and layers on the real modules, on torch's meta device, which has only shapes."""

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
    """The size of one network, and the cost of one image."""

    parameters: int  # without auxiliary classifiers, which only training uses
    auxiliary: int  # parameters of the auxiliary classifiers
    operations: int  # multiplications and additions of a forward pass, each counted as one
    layers: int  # convolutions and fully connected layers on the longest path


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
    """Finds the longest chain of layers with weights.

    The depth of a result is that of its deepest input, and one more if the layer has weights.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.deepest = 0
        self._depth: dict[int, tuple[Tensor, int]] = {}  # by id; tensors are kept, so that no id is used twice

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = (self._depth[id(x)][1] for x in tree_leaves((args, kwargs)) if id(x) in self._depth)
        depth = max(inputs, default=0) + (func.name().split(".")[0] in _WEIGHTED)
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._depth[id(tensor)] = tensor, depth
        self.deepest = max(self.deepest, depth)
        return result
