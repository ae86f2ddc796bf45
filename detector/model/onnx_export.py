"""A trained network as an ONNX graph (`detector.artifact` describes its inputs and outputs)."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from detector.model.fast_rcnn import FastRCNN

_OPSET = 17


class _Graph(nn.Module):
    def __init__(self, network: FastRCNN) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, proposals: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.detect(image, proposals)


def export_onnx(network: FastRCNN, path: Path) -> None:
    """Write `network` (in evaluation mode, on the CPU) with sizes and the number of proposals left open.

    The scripted exporter is used: it carries RoIAlign over open shapes.
    """
    image = torch.zeros(1, 3, 96, 160)
    # One box for each pyramid level, so that every branch is traced with content.
    proposals = torch.tensor([[0.0, 0.0, 40.0, 50.0], [0.0, 0.0, 150.0, 90.0], [0.0, 0.0, 600.0, 500.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces its other exporter; tracing notes constants that are meant
        torch.onnx.export(
            _Graph(network).eval(),  # else the exporter would leave the network in training mode
            (image, proposals),
            str(path),
            dynamo=False,
            opset_version=_OPSET,
            input_names=["image", "proposals"],
            output_names=["scores", "boxes"],
            dynamic_axes={
                "image": {2: "height", 3: "width"},
                "proposals": {0: "count"},
                "scores": {0: "count"},
                "boxes": {0: "count"},
            },
        )
