"""What two runs of the pipeline differ in, by locks that the tests write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from detector.cli import main

FIGURES = {"map_50_11point": 0.64, "coco_ap": 0.32, "calibration_error": 0.5, "map_90_11point": None}


def lock(
    *, epochs: int = 10, code: str = "c1", data: str = "d1", weights: str = "w1", artifact: str = "a1"
) -> dict[str, Any]:
    """The content of a dvc.lock with three stages."""

    def item(path: str, md5: str) -> dict[str, Any]:
        return {"path": path, "hash": "md5", "md5": md5, "size": 1}

    source, dataset, trained = item("detector/model", code), item("build/dataset", data), item("build/train", weights)
    settings = {"model": {"head": "light"}, "train": {"epochs": epochs, "image_sizes": [320, 384]}}
    return {
        "schema": "2.0",
        "stages": {
            "fetch": {"cmd": "detector fetch", "params": {"params.yaml": {"fetch": {"seed": 1}}}, "outs": [dataset]},
            "train": {"deps": [dataset, source], "params": {"params.yaml": settings}, "outs": [trained]},
            "export": {"deps": [dataset, trained], "outs": [item("models/detector", artifact)]},
        },
    }


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Run `detector check-lock` in a project, against the lock of another run; returns the exit code and the output."""
    monkeypatch.chdir(tmp_path)

    def run(theirs: dict[str, Any], figures: dict[str, Any] | None = None, *options: str) -> tuple[int, str]:
        Path("dvc.lock").write_text(yaml.safe_dump(lock(), sort_keys=False))
        Path("build/evaluation").mkdir(parents=True, exist_ok=True)
        Path("build/evaluation/metrics.json").write_text(json.dumps(FIGURES))
        Path("theirs.lock").write_text(yaml.safe_dump(theirs, sort_keys=False))
        if figures is not None:
            Path("theirs.json").write_text(json.dumps(figures))
        done = CliRunner().invoke(main, ["check-lock", "theirs.lock", *options])
        return done.exit_code, done.output

    return run


def test_the_same_artifact_needs_no_figures(check: Callable[..., tuple[int, str]]) -> None:
    code, said = check(lock())
    assert code == 0 and "models/detector is the same, byte for byte" in said
    code, said = check(lock(code="c2"))
    assert code == 0 and "code: detector/model differs" in said


def test_another_artifact_is_judged_by_its_figures(check: Callable[..., tuple[int, str]]) -> None:
    others = lock(weights="w2", artifact="a2")
    code, said = check(others, FIGURES | {"map_50_11point": 0.62})
    assert code == 0 and "results: build/train, models/detector differ" in said
    assert "map_50_11point: 0.6400 here, 0.6200 there" in said and "agree within 0.03" in said
    assert "calibration" not in said and "map_90" not in said
    code, said = check(others, FIGURES | {"map_50_11point": 0.62}, "--tolerance", "0.01")
    assert code == 1 and "map_50_11point differs by more than the tolerance of 0.01" in said
    code, said = check(others, FIGURES | {"coco_ap": 0.4})
    assert code == 1 and "coco_ap differs" in said


def test_without_figures_another_artifact_is_no_agreement(check: Callable[..., tuple[int, str]]) -> None:
    code, said = check(lock(artifact="a2"))
    assert code == 2 and "theirs.json is missing or has none" in said
    code, said = check(lock(artifact="a2"), {"calibration_error": 0.5})
    assert code == 2 and "has none" in said


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"epochs": 12}, "settings: train.epochs is 10 here and 12 there"),
        ({"data": "d2"}, "data: build/dataset differs"),
    ],
)
def test_other_settings_or_data_cannot_be_compared(
    check: Callable[..., tuple[int, str]], change: dict[str, Any], sentence: str
) -> None:
    code, said = check(lock(**change), FIGURES)
    assert code == 1 and sentence in said and "cannot be compared" in said and "here, " not in said
    assert "code:" not in said  # the data are a stage's result


def test_a_setting_that_one_side_lacks_is_named(check: Callable[..., tuple[int, str]]) -> None:
    theirs = lock()
    theirs["stages"]["train"]["params"]["params.yaml"]["train"]["patience"] = 3
    code, said = check(theirs)
    assert code == 1 and "train.patience is not set here and 3 there" in said


@pytest.mark.parametrize("content", ["", "[]", "stages: 3", "stages: {}", "stages: {train: {cmd: x}}", "a: [", "\x00"])
def test_what_is_no_lock_is_refused(check: Callable[..., tuple[int, str]], content: str, tmp_path: Path) -> None:
    check(lock())
    Path("theirs.lock").write_text(content)
    done = CliRunner().invoke(main, ["check-lock", "theirs.lock"])
    assert done.exit_code == 2 and "theirs.lock is no dvc.lock" in done.output, done.output


def test_a_project_that_has_not_run_and_one_with_other_stages_are_refused(
    check: Callable[..., tuple[int, str]],
) -> None:
    check(lock())
    Path("dvc.lock").unlink()
    done = CliRunner().invoke(main, ["check-lock", "theirs.lock"])
    assert done.exit_code == 2 and "dvc.lock is missing: `dvc repro` writes it" in done.output
    theirs = lock()
    del theirs["stages"]["export"]
    code, said = check(theirs)
    assert code == 2 and "let `dvc repro` end in both" in said
