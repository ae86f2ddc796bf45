"""The options of `benchmarks.fine_tuning`: what `detector init` writes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchmarks.fine_tuning import main, written
from detector.stages.init import STARTS


@pytest.mark.parametrize("start", STARTS)
def test_a_way_has_the_network_and_the_rates_that_init_writes(start: str) -> None:
    way = written(f"{start}=7")
    assert way.title == f"init from {start} for 7 epochs" and way.train["epochs"] == 7
    assert way.model["start_from"] == start and way.model["backbone"] == STARTS[start].backbone
    assert way.train["learning_rate"] == STARTS[start].learning_rate
    assert "image_size" not in way.model  # that of --image-size


@pytest.mark.parametrize("option", ["voc20", "voc20=", "voc20=0", "voc20=-1", "none=3"])
def test_another_text_is_refused(option: str) -> None:
    with pytest.raises(click.UsageError, match=f"--init {option}: write START=EPOCHS.*the starts are voc20, imagenet"):
        written(option)


@pytest.mark.parametrize("options", [[], ["--init", "voc20=1", "--augment", "flip"]])
def test_own_images_are_learnt_by_what_init_writes_alone(tmp_path: Path, options: list[str]) -> None:
    done = CliRunner().invoke(main, ["--own", str(tmp_path), *options])
    assert done.exit_code == 2 and "--own goes with --init" in done.output
