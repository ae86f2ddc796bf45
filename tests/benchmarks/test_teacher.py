"""The table of `benchmarks.teacher`: each way beside the first one."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pytest

from benchmarks.teacher import Trial, Way, hide, prepare, rows
from detector.data.annotations import load_coco
from detector.data.settings import FetchSettings
from detector.params import load_params

ROOT = Path(__file__).parents[2]


def trial(ap: float, draws: np.ndarray) -> Trial:
    return Trial(10, 30, {"cat": ap, "dog": ap}, {"cat": ap / 2, "dog": ap / 2}, 2.4, np.stack([draws, draws]))


def test_a_gain_has_the_interval_of_the_paired_draws() -> None:
    draws = np.linspace(0.4, 0.6, 201)
    better = draws + np.linspace(0.08, 0.12, 201)
    found = {Way("without"): trial(0.5, draws), Way("same"): trial(0.5, draws), Way("better"): trial(0.6, better)}
    first, same, other = rows(found)
    assert first == ["without", "10", "30", "0.500", "", "0.250", "", "2"]
    assert same[4] == same[6] == "+0.000 to +0.000"
    assert other[3:5] == ["0.600", "+0.081 to +0.119"]


def test_hidden_images_are_in_no_way(tmp_path: Path) -> None:
    params = load_params(ROOT / "params.yaml")
    sources = [{"format": "generated", "splits": {"train": 5, "val": 1, "test": 1}}]
    params = params.model_copy(update={"fetch": FetchSettings.model_validate({"seed": 1, "sources": sources})})
    hidden = hide(params, 2, tmp_path / "people")
    everything = {image.file_name for image in load_coco(tmp_path / "people/train.json").images}
    assert len(everything) == 5 and len(hidden) == 3 and hidden < everything
    truth = prepare(params, Way("without"), 4, tmp_path / "without-dataset", hidden)
    assert {image.file_name for image in truth.images} == everything - hidden
    assert [image.weight for image in truth.images] == [2.0, 2.0]  # two images, shown four times
    assert hide(params, 5, tmp_path / "people") == frozenset()
    with pytest.raises(click.UsageError, match="--labelled 6: people have labelled 5 images"):
        hide(params, 6, tmp_path / "people")
