"""Chooses the one way to read a graph, or says which ways there are and how to choose."""

from __future__ import annotations

import json

from detector.common.errors import ArtifactError
from detector.importing.classes import ClassList
from detector.importing.presets import Values
from detector.importing.recognise import LOOKED_FOR, Reading, outputs_text, readings
from detector.importing.trial import Trial


def choose(trial: Trial, classes: ClassList | None, given: Values) -> Reading:
    """Return the one way to read the graph, which has the values of `decoding` that are given, if one has.

    Raises ArtifactError if there is none, or more than one.
    """
    found = readings(trial)
    path = trial.graph.path
    if trial.preset is not None:
        chosen = [reading for reading in found if reading.preset == trial.preset]
        if not chosen:
            others = sorted({reading.preset for reading in found})
            seems = f"; it looks like {' or '.join(others)}" if others else ""
            raise ArtifactError(
                f"{path}: its outputs ({outputs_text(trial)}) are not those of {trial.preset}{seems}. To read them by "
                "values of your own, give --kind and --set (docs/models.md)"
            )
        found = chosen
    if not found:
        table = "\n".join(f"  {name}: {what}" for name, what in LOOKED_FOR)
        raise ArtifactError(
            f"{path}: its outputs ({outputs_text(trial)}) are of no kind that is known, for an input of "
            f"{trial.size[1]} x {trial.size[0]} pixels. These were looked for:\n{table}\nIf it is one of these with "
            "other values, give --kind KIND and its values, as in --kind dfl --set decoding.strides=[8,16] "
            "--set preprocessing.resize=stretch --set nms_threshold=0.6 (docs/models.md)"
        )
    fitting = [reading for reading in found if classes is None or reading.classes in {None, *classes.counts()}]
    if classes is not None and not fitting:
        classes.names(found[0].classes)  # raises: no number of classes is that of the names
    fitting = [way for way in fitting if _agrees(way, given)] or fitting
    if len(fitting) > 1:
        ways = "\n".join(f"  {_options(way)}: {way.because}; {way.classes} classes" for way in fitting)
        raise ArtifactError(
            f"{path}: can be read in {len(fitting)} ways. Choose by where the model comes from, and add one of:\n{ways}"
            + ("\nThe number of class names may decide too: --classes" if classes is None else "")
        )
    return fitting[0]


def _agrees(way: Reading, given: Values) -> bool:
    """Return whether no value that the graph decides in this reading is given otherwise."""
    return all(json.dumps(way.decoding.get(name, value)) == json.dumps(value) for name, value in given.items())


def _options(way: Reading) -> str:
    """Return the options that choose one of several readings."""
    decided = {name: value for name, value in way.decoding.items() if name in ("layout", "activation")}
    return f"--preset {way.preset}" + "".join(f" --set decoding.{name}={value}" for name, value in decided.items())
