"""Compares a run of the pipeline with another one, of which there is the `dvc.lock`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from detector.common.errors import ProjectError

# The results of these stages are the same bytes on every processor.
_EXACT = ("fetch", "propose")
# How the names of mean average precisions in metrics.json begin.
_PRECISION = ("map_", "coco_ap")


@dataclass(frozen=True)
class Figure:
    """An average precision of both runs, 0 to 1."""

    name: str
    own: float
    other: float


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs.

    settings: sentences; data: the results of `fetch` and `propose` that differ; inputs: files of the code or the
    project that differ, which need not change a result; results: those of the other stages that differ, by path;
    figures: None if they need not be compared, because the artifacts are the same bytes, or cannot be, because one
    side has none.
    """

    settings: tuple[str, ...]
    data: tuple[str, ...]
    inputs: tuple[str, ...]
    results: tuple[str, ...]
    figures: tuple[Figure, ...] | None


def compare(own: Path, other: Path, own_figures: Path, other_figures: Path, artifact: Path) -> Comparison:
    """Compare the locks `own` and `other`, and the figures in two files that stage `evaluate` wrote.

    artifact: the result of the last stage, by its path in the locks.
    Raises ProjectError if a lock is missing or is none, or if the runs have different stages.
    """
    here, there = _stages(own), _stages(other)
    if here.keys() != there.keys():
        raise ProjectError(
            f"{own} has the stages {', '.join(here)}, and {other} {', '.join(there)}: let `dvc repro` end in both"
        )
    made = {out for stage in here.values() for out in _digests(stage, "outs")}
    settings: list[str] = []
    data: list[str] = []
    results: list[str] = []
    inputs: set[str] = set()
    for name, stage in here.items():
        settings += _unequal(_flat(stage.get("params", {})), _flat(there[name].get("params", {})))
        changed = _changed(_digests(stage, "outs"), _digests(there[name], "outs"))
        (data if name in _EXACT else results).extend(changed)
        inputs |= set(_changed(_digests(stage, "deps"), _digests(there[name], "deps"))) - made
    same = str(artifact) not in results
    figures = None if same else _figures(own_figures, other_figures)
    return Comparison(tuple(dict.fromkeys(settings)), tuple(data), tuple(sorted(inputs)), tuple(results), figures)


def _stages(path: Path) -> dict[str, dict[str, Any]]:
    try:
        stages = yaml.safe_load(path.read_text("utf-8"))["stages"]
        if not stages or not all("outs" in stage for stage in stages.values()):
            raise TypeError("it has no stages, or one without outs")
    except FileNotFoundError as error:
        raise ProjectError(f"{path} is missing: `dvc repro` writes it") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError, LookupError, TypeError, AttributeError) as error:
        raise ProjectError(f"{path} is no dvc.lock: {error}") from error
    found: dict[str, dict[str, Any]] = stages
    return found


def _digests(stage: Mapping[str, Any], kind: str) -> dict[str, str]:
    """Return the digest of each file or folder of a stage, by its path. kind: deps or outs."""
    return {item["path"]: item["md5"] for item in stage.get(kind, [])}


def _changed(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """Return the paths that only one of both has, or that have different digests."""
    return [path for path in sorted({*here, *there}) if here.get(path) != there.get(path)]


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return the values of a mapping of mappings by their names, as `model.hidden`; the file's name is left out."""
    if not isinstance(value, dict):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, key if not name or name.endswith(".yaml") else f"{name}.{key}")
    return flat


def _unequal(here: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each setting that differs."""
    for key in sorted({*here, *there}):
        ours, theirs = (json.dumps(side[key]) if key in side else "not set" for side in (here, there))
        if ours != theirs:
            yield f"{key} is {ours} here and {theirs} there"


def _figures(own: Path, other: Path) -> tuple[Figure, ...] | None:
    """Return the mean average precisions that both files have, or None if one is missing."""
    if not own.is_file() or not other.is_file():
        return None
    here, there = (json.loads(path.read_text("utf-8")) for path in (own, other))
    names = [name for name in here if name.startswith(_PRECISION) and name in there]
    return tuple(Figure(name, here[name], there[name]) for name in names if None not in (here[name], there[name]))


def farthest(figures: tuple[Figure, ...]) -> Figure:
    """Return the figure in which the runs differ most."""
    return max(figures, key=lambda figure: math.fabs(figure.own - figure.other))
