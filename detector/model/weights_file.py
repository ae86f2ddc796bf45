"""The file of a trained network's weights, in the safetensors format, with the training's settings in its metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from detector.common.errors import WeightsError
from detector.common.files import replaced

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


def read_trained(path: Path, remedy: str = "run the stage `train` again") -> tuple[Making, dict[str, torch.Tensor]]:
    """Return how the network in `path` was made, and its weights by name.

    remedy: what to do about a damaged file. Raises WeightsError if the file is missing or damaged.
    """
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
        raise WeightsError(f"{path} cannot be read: {error}; {remedy}") from error


def load_making(path: Path) -> Making:
    """Return how the network in `path` was made; raises WeightsError as `read_trained` does."""
    return read_trained(path)[0]


def save_half(path: Path, trained: Path) -> None:
    """Write the weights in the file `trained` with large ones as float16, which halves it; `load_trained` reads both.

    Raises WeightsError as `read_trained` does.
    """
    making, weights = read_trained(trained)
    write_weights(path, {name: value.half() if _is_large(value) else value for name, value in weights.items()}, making)


def write_weights(path: Path, weights: dict[str, torch.Tensor], making: Making) -> None:
    """Write tensors on the CPU and how they were made; equal ones give equal bytes."""
    with replaced(path) as file:
        file.write(save(weights, {"making": json.dumps(asdict(making))}))


def _is_large(value: torch.Tensor) -> bool:
    """Return whether to use half precision; statistics and biases stay in float32, as in the exported graph."""
    return value.dtype == torch.float32 and value.numel() >= _FEWEST
