"""Compares a run of the pipeline with another one, of which there is the `dvc.lock`."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from detector.common.errors import ProjectError
from detector.stages import layout
from detector.stages.computation import STAGES

# The results of these stages are the same bytes on every processor.
_EXACT = ("fetch", "propose")
# What decides whether two detectors are the same. The artifact's description also names the revision of git.
_DECISIVE = (str(layout.TRAINING), str(layout.EVALUATION / "model.onnx"))
# This setting says where a training runs, and not what it computes.
_WHERE = "train.device"
FIGURES = layout.EVALUATION / "metrics.json"
# How the names of mean average precisions in that file begin.
_PRECISION = ("map_", "coco_ap")

Stages = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Figure:
    """An average precision of both runs, 0 to 1; None if a run has none."""

    name: str
    own: float | None
    other: float | None

    @property
    def difference(self) -> float:
        """Return how far they are apart; infinity if only one run has the figure."""
        if self.own is None or self.other is None:
            return 0.0 if self.own is self.other else math.inf
        return abs(self.own - self.other)


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs.

    settings: sentences; data: the results of `fetch` and `propose` that differ; inputs: files of the code or the
    project that differ, which need not change a result; results: those of the other stages that differ, by path.
    """

    settings: tuple[str, ...]
    data: tuple[str, ...]
    inputs: tuple[str, ...]
    results: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Return whether weights and graph are the same bytes."""
        return not set(_DECISIVE) & set(self.results)


def compare(here: Stages, there: Stages) -> Comparison:
    """Compare what `read_lock` returned for two runs."""
    made = {out for stage in (*here.values(), *there.values()) for out in _digests(stage, "outs")}
    settings: list[str] = []
    data: list[str] = []
    results: list[str] = []
    inputs: set[str] = set()
    for name in STAGES:
        settings += _unequal(_settings(here[name]), _settings(there[name]))
        changed = _changed(_digests(here[name], "outs"), _digests(there[name], "outs"))
        (data if name in _EXACT else results).extend(changed)
        inputs |= set(_changed(_digests(here[name], "deps"), _digests(there[name], "deps"))) - made
    return Comparison(tuple(dict.fromkeys(settings)), tuple(data), tuple(sorted(inputs)), tuple(results))


def read_lock(path: Path) -> Stages:
    """Return the stages of a `dvc.lock` by name. Raises ProjectError if it is none, or `dvc repro` has not ended."""
    try:
        stages: Stages = yaml.safe_load(path.read_text("utf-8"))["stages"]
        missing = [name for name in STAGES if not _digests(stages.get(name, {}), "outs")]
    except FileNotFoundError as error:
        raise ProjectError(f"{path} is missing: `dvc repro` writes it") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError, LookupError, TypeError, AttributeError) as error:
        raise ProjectError(f"{path} is no dvc.lock: {error}") from error
    if missing:
        raise ProjectError(f"{path} has no result of the stage {missing[0]}: let `dvc repro` end")
    return stages


def compare_figures(here: Stages, own: Path, there: Stages, other: Path) -> list[Figure]:
    """Return the mean average precisions of both runs, from the files that stage `evaluate` wrote.

    Raises ProjectError if a file is missing, holds no figures, or is not the one of its run.
    """
    ours, theirs = _figures(here, own), _figures(there, other)
    return [Figure(name, ours.get(name), theirs.get(name)) for name in {**ours, **theirs}]


def _figures(stages: Stages, path: Path) -> dict[str, float | None]:
    try:
        content = path.read_bytes()
        found = {name: value for name, value in json.loads(content).items() if name.startswith(_PRECISION)}
    except FileNotFoundError as error:
        raise ProjectError(f"{path} is missing: name the run's metrics.json, or run `dvc pull {FIGURES}`") from error
    except (OSError, ValueError, AttributeError) as error:
        raise ProjectError(f"{path} holds no figures: {error}") from error
    stated = _digests(stages["evaluate"], "outs").get(str(FIGURES))
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != stated:
        raise ProjectError(f"{path} is not the {FIGURES} of its run: the digest in the lock is another one")
    if not found:
        raise ProjectError(f"{path} holds no figures whose names begin with {' or '.join(_PRECISION)}")
    return {name: None if value is None or math.isnan(value) else float(value) for name, value in found.items()}


def _digests(stage: Mapping[str, Any], kind: str) -> dict[str, str]:
    """Return the digest of each file or folder of a stage, by its path. kind: deps or outs."""
    return {
        item["path"]: item.get("md5") or item.get("etag") or item.get("checksum") or "" for item in stage.get(kind, [])
    }


def _changed(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """Return the paths that only one of both has, or that have different digests."""
    return [path for path in sorted({*here, *there}) if here.get(path) != there.get(path)]


def _settings(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a stage by their names, as `model.hidden`, from all of its params files."""
    return {name: value for values in stage.get("params", {}).values() for name, value in _named(values)}


def _named(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting in a mapping of mappings with its name."""
    if not isinstance(value, dict):
        yield name, value
        return
    for key, item in value.items():
        yield from _named(item, f"{name}.{key}" if name else str(key))


def _unequal(here: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each setting that differs."""
    for key in sorted({*here, *there} - {_WHERE}):
        ours, theirs = (json.dumps(side[key], default=str) if key in side else "not set" for side in (here, there))
        if ours != theirs:
            yield f"{key} is {ours} here and {theirs} there"
