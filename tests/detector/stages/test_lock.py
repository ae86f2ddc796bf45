"""What two runs of the pipeline differ in, by locks that the tests write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from detector.cli import main

FIGURES = {"map_50_11point": 0.64, "coco_ap": 0.32, "calibration_error": 0.5, "map_90_11point": None}
Check = Callable[..., tuple[int, str]]


def item(path: str, md5: str) -> dict[str, Any]:
    return {"path": path, "hash": "md5", "md5": md5, "size": 1}


def lock(
    *,
    epochs: int = 10,
    device: str = "cpu",
    code: str = "c1",
    data: str = "d1",
    weights: str = "w1",
    artifact: str = "a1",
    figures: object = FIGURES,
) -> dict[str, Any]:
    """The content of a dvc.lock; graph and weights differ together."""
    source, dataset, trained = item("detector/model", code), item("build/dataset", data), item("build/train", weights)
    proposals, graph = item("build/proposals", data), item("build/evaluation/model.onnx", weights)
    measured = item("build/evaluation/metrics.json", hashlib.md5(json.dumps(figures).encode()).hexdigest())
    settings = {"model": {"head": "light"}, "train": {"epochs": epochs, "device": device, "image_sizes": [320, 384]}}
    return {
        "schema": "2.0",
        "stages": {
            "fetch": {"cmd": "detector fetch", "params": {"params.yaml": {"fetch": {"seed": 1}}}, "outs": [dataset]},
            "propose": {"params": {"params.yaml": {"model.name": "x"}}, "deps": [dataset], "outs": [proposals]},
            "train": {"deps": [dataset, source], "params": {"params.yaml": settings}, "outs": [trained]},
            "evaluate": {"deps": [dataset, trained], "outs": [graph, measured]},
            "export": {"deps": [dataset, trained], "outs": [item("models/detector", artifact)]},
        },
    }


def write(folder: Path, content: object, figures: object) -> None:
    """Write a project with a lock and figures."""
    (folder / "build/evaluation").mkdir(parents=True, exist_ok=True)
    (folder / "dvc.lock").write_text(yaml.safe_dump(content, sort_keys=False))
    (folder / "build/evaluation/metrics.json").write_text(json.dumps(figures))


def check_lock(*options: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["check-lock", "theirs/dvc.lock", *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Run `detector check-lock` against another project; returns the exit code and the output."""
    monkeypatch.chdir(tmp_path)

    def run(theirs: dict[str, Any], figures: object = FIGURES, *options: str) -> tuple[int, str]:
        write(Path(), lock(), FIGURES)
        write(Path("theirs"), theirs, figures)
        return check_lock(*options)

    return run


def test_the_same_weights_and_graph_need_no_figures(check: Check) -> None:
    code, said = check(lock(), "not read")
    assert code == 0 and said == "weights and graph are the same, byte for byte\n"
    code, said = check(lock(code="c2", artifact="another revision of git", device="cuda"), "not read")
    assert code == 0 and "input: detector/model differs" in said and "result: models/detector differs" in said


def test_other_weights_are_judged_by_their_figures(check: Check) -> None:
    near = FIGURES | {"map_50_11point": 0.62}
    others = lock(weights="w2", artifact="a2", figures=near)
    code, said = check(others, near)
    assert code == 0 and "result: build/train differs" in said and "result: models/detector differs" in said
    assert "map_50_11point: 0.6400 here, 0.6200 there" in said and "map_90_11point: none here, none there" in said
    assert "all figures agree within 0.03" in said and "calibration" not in said
    code, said = check(others, near, "--tolerance", "0.01")
    assert code == 1 and "map_50_11point differs by more than the tolerance of 0.01" in said


@pytest.mark.parametrize(
    "change",
    [
        {"coco_ap": 0.4},
        {"coco_ap": float("nan")},
        {"coco_ap": None},
        {"map_90_11point": 0.0},
        {"map_75": 0.1},  # only there
    ],
)
def test_a_figure_that_is_far_away_or_undefined_or_only_there_differs(check: Check, change: dict[str, Any]) -> None:
    figures = FIGURES | change
    code, said = check(lock(weights="w2", figures=figures), figures)
    assert code == 1 and f"{next(iter(change))} differs by more than" in said


@pytest.mark.parametrize(
    ("figures", "reason"),
    [({"calibration_error": 0.5}, "holds no figures whose names begin with map_"), ([1], "holds no figures")],
)
def test_figures_that_cannot_be_read_are_refused(check: Check, figures: object, reason: str) -> None:
    code, said = check(lock(weights="w2", figures=figures), figures)
    assert code == 2 and reason in said


def test_figures_of_another_run_and_missing_ones_are_refused(check: Check) -> None:
    code, said = check(lock(weights="w2"), FIGURES | {"coco_ap": 0.33})
    assert (
        code == 2 and "theirs/build/evaluation/metrics.json is not the build/evaluation/metrics.json of its run" in said
    )
    Path("theirs/build/evaluation/metrics.json").rename("kept.json")
    code, said = check_lock()
    assert code == 2 and "theirs/build/evaluation/metrics.json is missing" in said
    Path("kept.json").write_text(json.dumps(FIGURES))
    assert check_lock("--figures", "kept.json")[0] == 0
    Path("kept.json").write_text("{")
    assert check_lock("--figures", "kept.json")[0] == 2


def test_figures_may_lie_beside_a_lock_that_was_kept(check: Check) -> None:
    """As those of settings/shipped.lock do."""
    near = FIGURES | {"map_50_11point": 0.62}
    assert check(lock(weights="w2", figures=near), near)[0] == 0
    Path("settings").mkdir()
    Path("theirs/dvc.lock").rename("settings/kept.lock")
    Path("theirs/build/evaluation/metrics.json").rename("settings/kept.metrics.json")
    done = CliRunner().invoke(main, ["check-lock", "settings/kept.lock"])
    assert done.exit_code == 0 and "map_50_11point: 0.6400 here, 0.6200 there" in done.output


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"epochs": 12}, "setting: train.epochs is 10 here and 12 there"),
        ({"data": "d2"}, "data: build/dataset differs"),
    ],
)
def test_results_of_other_settings_or_data_are_not_compared(
    check: Check, change: dict[str, Any], sentence: str
) -> None:
    code, said = check(lock(**change))
    assert code == 1 and sentence in said and "are not compared" in said
    assert "input:" not in said  # the data are a stage's result


def test_a_setting_that_one_side_lacks_is_named(check: Check) -> None:
    theirs = lock()
    theirs["stages"]["train"]["params"]["params.yaml"]["train"]["patience"] = 3
    code, said = check(theirs)
    assert code == 1 and "train.patience is not set here and 3 there" in said


def test_own_stages_and_other_kinds_of_digests_are_no_trouble(check: Check) -> None:
    theirs = lock()
    theirs["stages"]["mine"] = {"cmd": "true"}
    theirs["stages"]["fetch"]["deps"] = [{"path": "s3://bucket/labels.json", "etag": "e1"}]
    code, said = check(theirs)
    assert code == 0 and "input: s3://bucket/labels.json differs" in said


@pytest.mark.parametrize("content", ["", "[]", "stages: 3", "a: [", "\x00", "stages: {fetch: 3}"])
def test_what_is_no_lock_is_refused(check: Check, content: str) -> None:
    check(lock())
    Path("theirs/dvc.lock").write_text(content)
    code, said = check_lock()
    assert code == 2 and "theirs/dvc.lock is no dvc.lock" in said, said


def test_a_run_that_has_not_ended_is_refused(check: Check) -> None:
    theirs = lock()
    del theirs["stages"]["export"]
    code, said = check(theirs)
    assert code == 2 and "theirs/dvc.lock has no result of the stage export: let `dvc repro` end" in said
    check(lock())
    Path("dvc.lock").unlink()
    code, said = check_lock()
    assert code == 2 and "dvc.lock is missing: `dvc repro` writes it" in said
