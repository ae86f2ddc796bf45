"""What `train` leaves: the weights, and what is needed to build the network around them again."""

from __future__ import annotations

from pathlib import Path

import torch

from detector.common.errors import WeightsError
from detector.model.family import build
from detector.model.network import DetectionNetwork
from detector.model.torch_file import UNREADABLE, read_torch
from detector.params import ModelSettings


def save_trained(path: Path, network: torch.nn.Module, model: ModelSettings, classes: tuple[str, ...]) -> None:
    """Write the network's weights with its settings and classes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    torch.save({"model": model.model_dump(), "classes": list(classes), "network": weights}, path)


def load_trained(path: Path) -> tuple[DetectionNetwork, ModelSettings, tuple[str, ...]]:
    """The network in evaluation mode on the CPU, its settings and its classes.

    Raises WeightsError when `path` is missing or damaged.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is missing: run the stage `train`")
    try:
        state = read_torch(path)
        model, classes = ModelSettings.model_validate(state["model"]), tuple(state["classes"])
        network = build(model, len(classes), weights="none")
        network.load_state_dict(state["network"])
    except UNREADABLE as error:
        raise WeightsError(f"{path} cannot be read: {error}; run the stage `train` again") from error
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval(), model, classes
