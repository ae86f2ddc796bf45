"""Finds the first weights of a training, `model.start_from`, and gives a network those of an earlier detector.

Shapes: C classes without the background.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from detector.common.digests import sha256_of
from detector.common.dvc_project import get_declared
from detector.common.errors import ProjectError, TrainingError, WeightsError
from detector.model.checkpoint import get_file
from detector.model.family import build
from detector.model.heads import BOX_LAYERS, ClassLayer
from detector.model.network import DetectionNetwork
from detector.model.weights_file import WEIGHTS_FILE, read_trained
from detector.params import ModelSettings
from detector.runtime.shipped import SHIPPED

# Its layers belong together: scores and boxes after another convolution mean nothing.
_PROPOSAL_HEAD = "rpn.head."


@dataclass(frozen=True)
class Begun:
    """A network at the start of its training. kept: the classes that have weights of the earlier detector; new: the
    parts, or the classes, that have none; parameters: the names of those that are the earlier detector's as a whole,
    which the last layers are not. All are empty if there is no earlier detector."""

    network: DetectionNetwork
    kept: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    parameters: frozenset[str] = frozenset()


def weights_of(model: ModelSettings, folder: Path) -> Path | None:
    """Return the training weights of the artifact that `model.start_from` names, or None if it names no artifact.

    It may be the name of the shipped artifact, whether or not a folder has that name too, a folder,
    s3://bucket/prefix, or REPO:REV of a DVC project; the last two are copied into `folder`. "imagenet", "none" and a
    file that holds a backbone's weights are no artifact.
    Raises TrainingError if there is no such artifact, and WeightsError if it has no training weights or other ones than
    `model.start_sha256` says.
    """
    name = model.start_from
    if name in ("imagenet", "none") or (Path(name).is_file() and not _is_trained(Path(name))):
        return None
    path = _locate(name, folder)
    if not path.is_file():
        raise WeightsError(
            f"model.start_from: {name} has no {WEIGHTS_FILE}: the stage `export` writes it from version 0.2 on, and an "
            "imported detector has none; name another artifact"
        )
    if model.start_sha256 is not None and (found := sha256_of(path)) != model.start_sha256:
        raise WeightsError(
            f"{path} has sha256 {found}, but model.start_sha256 is {model.start_sha256}: it is another file, or damaged"
        )
    return path


def _locate(name: str, folder: Path) -> Path:
    """Return where the artifact's weights are, or where they were copied to; the file may be missing."""
    if name == SHIPPED.name:
        return SHIPPED / WEIGHTS_FILE
    if Path(name).is_file():
        return Path(name)
    if Path(name).is_dir():
        return Path(name) / WEIGHTS_FILE
    target = folder / WEIGHTS_FILE
    if name.startswith("s3://"):
        get_file(f"{name.rstrip('/')}/{WEIGHTS_FILE}", target)
    elif ":" in name:
        try:
            get_declared(name, [WEIGHTS_FILE], folder)
        except ProjectError as error:
            raise TrainingError(f"model.start_from: {name}: {error}") from error
    else:
        raise TrainingError(
            f"model.start_from: {name} is neither a folder nor a file here: name imagenet, none, {SHIPPED.name}, a "
            "folder with an artifact, s3://bucket/prefix, or REPO:REV of a DVC project"
        )
    return target


def _is_trained(path: Path) -> bool:
    """Return whether a file has a whole detector's training weights, and not those of a backbone."""
    if path.suffix != ".safetensors":
        return False
    try:
        read_trained(path)
    except WeightsError:
        return False
    return True


def begin(model: ModelSettings, classes: Sequence[str], earlier: Path | None) -> Begun:
    """Return a new network, with the weights of the detector in `earlier` if it is not None.

    Rows of the last layers belong to a class each: those of a class with the same name are kept, and the others start
    anew. Parts that only one of the two has, such as the proposal network, start anew or are left out; so does a last
    layer that reads the vectors of other hidden layers, as those of another member of the family or another head, and
    the proposal network with another convolution.
    Raises WeightsError if `earlier` cannot be read, and TrainingError if its layers have other shapes.
    """
    if earlier is None:
        return Begun(build(model, len(classes)))
    network = build(model, len(classes), weights="none")
    making, given = read_trained(earlier, "name another start, or copy the file again")
    different = _different(model, making.settings["model"])
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, ClassLayer)}
    old = {name: label for label, name in enumerate(making.classes)}
    own = network.state_dict()
    taken: dict[str, Tensor] = {}
    for name, value in own.items():
        if name not in given:
            continue
        owner = name.rpartition(".")[0]
        layer, theirs = layers.get(owner), given[name].to(value.dtype)
        last = layer is not None or _leaf(owner) in BOX_LAYERS or owner.startswith(_PROPOSAL_HEAD)
        if last and not different:
            if _before(owner, own, layers) != _before(owner, given, layers):
                continue
            if layer is not None and given[f"{owner}.weight"].shape[1] != layer.in_features:
                continue
        if value.shape[layer is not None :] != theirs.shape[layer is not None :]:
            shapes = f"{name} is {tuple(value.shape)} here and {tuple(theirs.shape)} there"
            raise TrainingError(_other_layers(model, different or shapes))
        taken[name] = theirs if layer is None else _rows(layer, value, theirs, classes, old)
    if not any(name.startswith("backbone.") for name in taken):
        raise TrainingError(_other_layers(model, different or "no layer of the backbone is in both"))
    network.load_state_dict(own | taken)
    parts = {name.partition(".")[0] for name in own}
    missing = sorted(parts - {name.partition(".")[0] for name in taken})
    has_rows = any(name.rpartition(".")[0] in layers for name in taken)
    kept = tuple(name for name in classes if has_rows and name in old)
    new = (*missing, *(name for name in classes if name not in kept))
    whole = frozenset(name for name in taken if name.rpartition(".")[0] not in layers)
    return Begun(network, kept, new, whole)


def _before(owner: str, names: Iterable[str], layers: Collection[str]) -> set[str]:
    """Return the parameters between the backbone and a last layer, by name: those of its head's other layers."""
    head = owner.rpartition(".")[0]
    start = f"{head}." if head else ""
    last = {_leaf(layer) for layer in layers} | set(BOX_LAYERS)
    return {
        name
        for name in names
        if name.startswith(start) and not name.startswith("backbone.") and _leaf(name.rpartition(".")[0]) not in last
    }


def _leaf(name: str) -> str:
    """Return the last part of a layer's name."""
    return name.rpartition(".")[2]


def _rows(layer: ClassLayer, own: Tensor, given: Tensor, classes: Sequence[str], old: dict[str, int]) -> Tensor:
    """Return the layer's weight or bias (rows, ...) with the rows of the classes that the earlier layer had too."""
    joined = own.clone()
    with torch.no_grad():
        joined[: layer.background] = given[: layer.background]
        for label, name in enumerate(classes):
            if name in old:
                joined[layer.rows_of(label)] = given[layer.rows_of(old[name])]
    return joined


def _different(model: ModelSettings, earlier: Mapping[str, object]) -> str:
    """Return a text with the settings of layers that differ from those of an earlier detector; empty if none do."""
    return "; ".join(
        f"model.{key} is {getattr(model, key)} here and {earlier.get(key)} there"
        for key in ("backbone", "pyramid_channels", "hidden")
        if getattr(model, key) != earlier.get(key)
    )


def _other_layers(model: ModelSettings, difference: str) -> str:
    return f"model.start_from: {model.start_from} has other layers: {difference}; make them equal"
