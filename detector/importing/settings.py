"""Makes an artifact's description from a preset, from what its graph decides, and from what the user sets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from detector.common.errors import ArtifactError
from detector.importing.classes import Labels
from detector.importing.presets import Preset, Values
from detector.runtime.artifact import Artifact, place_of

# Detections are shown from this score on until one is measured; it is usual for detectors trained on COCO.
_SCORE = 0.25
# COCO's evaluation counts this many detections an image.
_DETECTIONS = 100
# IoU of boxes that are equal but for rounding: of one box with two classes that became one label, one is left.
_EQUAL = 0.99
_SECTIONS = ("preprocessing", "decoding")
_SINGLE = ("nms_threshold", "max_detections", "operating_score")


def parse_settings(words: Sequence[str]) -> Values:
    """Return what `--set` gives as {"preprocessing": {...}, "decoding": {...}, "nms_threshold": ...}.

    words: KEY=VALUE, where the value is JSON, or text that needs no quotes. Raises ArtifactError.
    """
    given: Values = {section: {} for section in _SECTIONS}
    for word in words:
        key, equals, text = word.partition("=")
        section, dot, name = key.partition(".")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        if equals and dot and section in _SECTIONS and name:
            given[section][name] = value
        elif equals and key in _SINGLE:
            given[key] = value
        else:
            raise ArtifactError(
                f"--set {word}: give KEY=VALUE, where KEY is preprocessing.NAME, decoding.NAME, {', '.join(_SINGLE)}; "
                "docs/models.md has the names"
            )
    return given


def describe(
    name: str,
    kind: str,
    preset: Preset | None,
    decided: Values,
    size: tuple[int, int],
    fixed: bool,
    labels: Labels,
    given: Values,
    digest: str,
) -> Artifact:
    """Return the description of a graph that is not measured.

    kind: of the graph, whose preset may be missing; decided: values of `decoding` that its outputs decide; size, fixed:
    height and width of its input, and whether it takes no others; given: of `parse_settings`; digest: of model.onnx.
    Raises ArtifactError, which names each value that is missing or wrong.
    """
    content: Values = {"nms_threshold": preset.nms_threshold} if preset else {}
    if labels.joined and content.get("nms_threshold", 1) is None:
        content["nms_threshold"] = _EQUAL
    content |= {"max_detections": _DETECTIONS, "operating_score": _SCORE}
    content["decoding"] = (preset.decoding if preset else {}) | decided | given["decoding"] | {"kind": kind}
    prepared = preset.preprocessing | (preset.fixed if fixed else {}) if preset else {}
    prepared = prepared | given["preprocessing"]
    sides = (None, None) if prepared.get("resize") == "none" else size
    content["preprocessing"] = dict(zip(("height", "width"), sides, strict=True)) | prepared
    content |= {key: value for key, value in given.items() if key in _SINGLE}
    graph = None if labels.graph == labels.classes else labels.graph
    own = {"name": name, "classes": labels.classes, "graph_classes": graph, "onnx_sha256": digest}
    try:
        return Artifact.model_validate(content | own)
    except ValidationError as error:
        raise ArtifactError("; ".join(_wrong(item, content) for item in error.errors())) from error


def _wrong(error: ErrorDetails, content: Values) -> str:
    place = place_of(error)
    if error["type"] == "missing":
        return f"--set {place}=VALUE is missing: this kind needs it"
    value: Any = content
    for step in place.split("."):
        value = value.get(step) if isinstance(value, Mapping) else value
    return f"--set {place}={json.dumps(value)}: {error['msg']}"


def assumptions(artifact: Artifact, preset: Preset | None, decided: Values, fixed: bool, given: Values) -> list[str]:
    """Return a line for each value that neither the graph nor the user gave, with the option that changes it."""
    known = {f"{section}.{name}" for section in _SECTIONS for name in given[section]} | set(given)
    known |= {f"decoding.{name}" for name in decided} | {"decoding.kind"}
    if fixed or artifact.preprocessing.height is None:
        known |= {"preprocessing.height", "preprocessing.width"}
    content = artifact.model_dump(mode="json")
    values = {name: content[name] for name in _SINGLE}
    for section in _SECTIONS:
        # A preset gives the values that matter to it; without one all are shown.
        shown = content[section].keys() if preset is None else getattr(artifact, section).model_fields_set
        values |= {f"{section}.{name}": value for name, value in content[section].items() if name in shown}
    return [f"{name} = {_text(value)} (change it with --set {name}=VALUE)"
            for name, value in values.items() if name not in known]  # fmt: skip


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
