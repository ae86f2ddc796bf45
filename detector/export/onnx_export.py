"""Exports a trained network as an ONNX graph; `detector.runtime.artifact` describes its inputs and outputs."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from detector.export.half_weights import store_in_half
from detector.model.network import DetectionNetwork

_OPSET = 17


class _Graph(nn.Module):
    def __init__(self, network: DetectionNetwork, max_proposals: int) -> None:
        super().__init__()
        self.network, self.max_proposals = network, max_proposals

    def forward(self, image: Tensor, proposals: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.detect(image, proposals, self.max_proposals)


def export_onnx(network: DetectionNetwork, path: Path, max_proposals: int) -> None:
    """Write `network`, which is in evaluation mode on the CPU, with open image sizes and number of proposals.

    max_proposals: the number of proposals of a network that makes its own; its graph has no input `proposals`, and
    takes any number of images of one size. torch's
    older exporter is used, because it exports RoIAlign and NMS with open shapes. Weights are stored in half precision.
    """
    rows = "batch" if network.makes_proposals else "count"
    image = torch.zeros(2 if network.makes_proposals else 1, 3, 96, 160)
    # Each pyramid level gets a box, so that no branch is traced with empty tensors.
    proposals = torch.tensor([[0.0, 0.0, 40.0, 50.0], [0.0, 0.0, 150.0, 90.0], [0.0, 0.0, 600.0, 500.0]])
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # torch advertises its newer exporter; tracing warns of constants that are intended
        torch.onnx.export(
            _Graph(network, max_proposals).eval(),  # otherwise the exporter would leave the network in training mode
            (image, proposals),
            str(path),
            dynamo=False,
            opset_version=_OPSET,
            input_names=["image", "proposals"],
            output_names=["scores", "boxes"],
            dynamic_axes={
                "image": {2: "height", 3: "width"} | ({0: "batch"} if network.makes_proposals else {}),
                "proposals": {0: "count"},
                "scores": {0: rows},
                "boxes": {0: rows},
            },
        )
    onnx.save(store_in_half(onnx.load(path)), path)
