"""Stores the settings with each result, so that no stage mixes results of two versions of params.yaml."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detector.common.errors import ParamsError
from detector.params import Params, load_params
from detector.stages import layout
from detector.stages.metrics_file import write_json

SETTINGS_FILE = "settings.json"
# Sections of params.yaml, or parts of them, as JSON objects.
Sections = dict[str, dict[str, Any]]


@contextlib.contextmanager
def settings_in_force(*sections: str) -> Iterator[Params]:
    """Give the settings of params.yaml while a stage runs.

    Raises ParamsError at the end if one of the stage's `sections` was changed meanwhile, because DVC would record the
    new settings with results of the old ones.
    """
    params = load_params(layout.PARAMS)
    yield params
    changed = _differences(_dump(params, sections), load_params(layout.PARAMS), "while this stage ran")
    if changed:
        raise ParamsError(
            f"{layout.PARAMS}: {changed}; the results belong to the earlier settings and are not recorded: restore the "
            "file and run again, which finishes quickly, or run again with the new settings"
        )


def read_settings(product: Path) -> Sections:
    """Return the settings that made `product`, a stage's folder; raises ParamsError if it has none."""
    try:
        content: Sections = json.loads((product / SETTINGS_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise ParamsError(f"{product} does not say which settings made it: run `dvc repro`") from error
    return content


def save_settings(product: Path, params: Params, *sections: str, earlier: Sections | None = None) -> None:
    """Write the settings beside a stage's results; earlier: the settings of the results that the stage read.

    sections: names in params.yaml, or `section.key` for one key of a section.
    """
    write_json(product / SETTINGS_FILE, {**(earlier or {}), **_dump(params, sections)})


def require_settings(product: Path, made_with: Sections, params: Params) -> None:
    """Raise ParamsError if `product` was made with settings that differ from `params`."""
    changed = _differences(made_with, params, f"since {product} was made")
    if changed:
        raise ParamsError(f"{layout.PARAMS}: {changed}: run `dvc repro`, which makes it again")


def _dump(params: Params, sections: tuple[str, ...]) -> Sections:
    content: Sections = {}
    for name in sections:
        section, _, key = name.partition(".")
        values = getattr(params, section).model_dump(mode="json")
        content[section] = {key: values[key]} if key else values
    return content


def _differences(made_with: Sections, params: Params, when: str) -> str:
    """Return a text that lists the changes; it is empty if there are none."""
    now = params.model_dump(mode="json")
    changes = [
        f"{section}.{key} was changed from {value!r} to {now.get(section, {}).get(key)!r} {when}"
        for section, values in made_with.items()
        for key, value in values.items()
        if now.get(section, {}).get(key) != value
    ]
    return "; ".join(changes)
