"""`benchmarks.starts`: it trains what `detector init` writes, and refuses another dataset's folder."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from benchmarks.starts import draw, written
from detector.data.annotations import load_coco
from detector.params import load_params
from detector.stages.init import STARTS, Start, params_text, suggest
from tests.support.datasets import write_scenes

COUNTS = {"train": 3, "val": 2, "test": 1}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_the_settings_are_those_of_the_file_that_init_writes(tmp_path: Path, start: Start) -> None:
    suggested = suggest([0.2], side=300, training=100, seconds=start.seconds, cores=1)
    source = "- {format: coco, splits: {train: {annotations: a.json, images: a}}, split: {val: 0.1, test: 0.1}}"
    (tmp_path / "params.yaml").write_text(params_text(start, suggested, ["cat"], "one", source))
    params = load_params(tmp_path / "params.yaml")
    model, train = written(start, suggested)
    assert model == params.model and train == params.train
    assert (model.backbone, model.start_from) == (start.backbone, start.start_from)
    assert (train.learning_rate, train.frozen_blocks) == (start.learning_rate, start.frozen_blocks)


def test_a_folder_keeps_one_dataset(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_scenes(tmp_path / name, {"train": 4, "val": 2, "test": 2})
    splits = draw(tmp_path / "one", COUNTS, tmp_path / "out")
    assert {name: len(split.images) for name, split in splits.items()} == COUNTS
    for name, split in splits.items():
        saved = load_coco(tmp_path / f"out/{name}.json")
        assert [image.file_name for image in saved.images] == [image.file_name for image in split.images]
    assert draw(tmp_path / "one", COUNTS, tmp_path / "out").keys() == COUNTS.keys()
    with pytest.raises(click.UsageError, match=r"out has the images of .*one: name another folder with --out"):
        draw(tmp_path / "other", COUNTS, tmp_path / "out")


def test_a_folder_without_a_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match=r"has no train\.json: name a folder that `detector fetch` wrote"):
        draw(tmp_path, COUNTS, tmp_path / "out")
