"""No stage mixes the results of two versions of params.yaml."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from detector.common.errors import ParamsError
from detector.params import load_params
from detector.stages import layout
from detector.stages.provenance import read_settings, require_settings, save_settings, settings_in_force

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, which is the current one."""
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change(old: str, new: str) -> None:
    text = layout.PARAMS.read_text()
    assert text.count(old) == 1
    layout.PARAMS.write_text(text.replace(old, new))


def test_a_setting_that_changes_while_a_stage_runs_is_an_error_that_names_it() -> None:
    with (
        pytest.raises(ParamsError, match=r"train\.epochs was changed from 8 to 80 while this stage ran.*restore"),
        settings_in_force("model", "train"),
    ):
        change("epochs: 8", "epochs: 80")


def test_settings_of_other_stages_and_comments_may_change_meanwhile() -> None:
    with settings_in_force("model", "train"):
        change("max_boxes: 2000", "max_boxes: 1500")
        change("# The embedded default", "# Our own default")


def test_a_file_that_cannot_be_read_any_more_is_an_error_too() -> None:
    with pytest.raises(ParamsError, match="given twice"), settings_in_force("train"):
        change("  epochs: 8\n", "  epochs: 8\n  epochs: 8\n")


def test_an_error_of_the_stage_itself_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), settings_in_force("train"):
        change("epochs: 8", "epochs: 80")
        raise ZeroDivisionError


def test_products_of_other_settings_are_refused_by_the_next_stage(project: Path) -> None:
    params = load_params(layout.PARAMS)
    data, boxes = project / "dataset", project / "proposals"
    save_settings(data, params, "fetch")
    save_settings(boxes, params, "propose", "model.name", earlier=read_settings(data))
    made_with = read_settings(boxes)
    assert set(made_with) == {"fetch", "propose", "model"} and set(made_with["model"]) == {"name"}
    require_settings(boxes, made_with, params)
    change("image_size: 256 # longer", "image_size: 256 # the longer")  # no other value
    change("seed: 1\n  sources", "seed: 2\n  sources")
    with pytest.raises(ParamsError, match=r"fetch\.seed was changed from 1 to 2 since .*proposals was made: run `dvc"):
        require_settings(boxes, made_with, load_params(layout.PARAMS))


def test_a_product_without_its_settings_is_refused(project: Path) -> None:
    with pytest.raises(ParamsError, match="does not say which settings made it: run `dvc repro`"):
        read_settings(project / "nothing")
