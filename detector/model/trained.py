"""Stores a trained network: its weights in the safetensors format, and its settings in the file's metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from detector.common.errors import WeightsError
from detector.common.files import replaced
from detector.model.family import build
from detector.model.network import DetectionNetwork
from detector.params import ModelSettings

WEIGHTS_FILE = "weights.safetensors"
# Smaller tensors are always stored in float32.
_FEWEST = 1024


# Settings of the section `model` that files of version 0.1 have under another name.
_RENAMED = {"weights": "start_from", "weights_sha256": "start_sha256"}


@dataclass(frozen=True)
class Making:
    """The settings of a training: sections of params.yaml as JSON objects, and the values that `auto` stood for."""

    settings: dict[str, dict[str, object]]
    classes: tuple[str, ...]
    precision: str = ""


def save_trained(path: Path, network: torch.nn.Module, making: Making) -> None:
    """Write the network's weights and how they were made; equal networks give equal bytes."""
    _write(path, {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}, making)


def save_half(path: Path, trained: Path) -> None:
    """Write the weights in the file `trained` with large ones as float16, which halves it; `load_trained` reads both.

    Raises WeightsError as `load_trained` does.
    """
    making, weights = read_trained(trained)
    _write(path, {name: value.half() if _is_large(value) else value for name, value in weights.items()}, making)


def _write(path: Path, weights: dict[str, torch.Tensor], making: Making) -> None:
    with replaced(path) as file:
        file.write(save(weights, {"making": json.dumps(asdict(making))}))


def load_making(path: Path) -> Making:
    """Return how the network in `path` was made; raises WeightsError as `load_trained` does."""
    return read_trained(path)[0]


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


def _is_large(value: torch.Tensor) -> bool:
    """Return whether to use half precision; statistics and biases stay in float32, as in the exported graph."""
    return value.dtype == torch.float32 and value.numel() >= _FEWEST


def read_trained(path: Path) -> tuple[Making, dict[str, torch.Tensor]]:
    """Return how the network in `path` was made, and its weights by name; raises as `load_trained` does."""
    if not path.is_file():
        raise WeightsError(f"{path} is missing: run the stage `train`")
    try:
        with safe_open(path, framework="pt") as file:
            content = json.loads((file.metadata() or {})["making"])
            model = content["settings"].get("model", {})
            content["settings"]["model"] = {_RENAMED.get(name, name): value for name, value in model.items()}
            making = Making(**{**content, "classes": tuple(content["classes"])})
            return making, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} cannot be read: {error}; run the stage `train` again") from error
