"""Stores a trained network and builds it again from the file."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import ValidationError

from detector.common.errors import WeightsError
from detector.model.family import build
from detector.model.network import DetectionNetwork
from detector.model.weights_file import Making, read_trained, write_weights
from detector.params import ModelSettings


def save_trained(path: Path, network: torch.nn.Module, making: Making) -> None:
    """Write the network's weights and how they were made; equal networks give equal bytes."""
    write_weights(
        path, {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}, making
    )


def load_trained(path: Path) -> tuple[DetectionNetwork, Making]:
    """Return the network, in evaluation mode and float32 on the CPU, and how it was made.

    Raises WeightsError if `path` is missing or damaged.
    """
    making, weights = read_trained(path)
    try:
        model = ModelSettings.model_validate(making.settings["model"])
        network = build(model, len(making.classes), weights="none")
        network.load_state_dict(weights)
    except (ValidationError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path} does not hold this network: {reason}; run the stage `train` again") from error
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval(), making
