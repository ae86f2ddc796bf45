"""Artifacts that another pipeline made: a graph of another kind, dropped classes, and nothing that was measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from detector.runtime.kinds.yolox import YoloxDecoding
from detector.runtime.preprocess import Preprocessing
from jobs.cli import main
from jobs.publish import VALIDATION
from jobs.rules.policy import BOX_RULES, DRIFT_RULES
from tests.conftest import Bucket
from tests.jobs.helpers import Boxcar, part_bytes, records_of, write_photos
from tests.support.graphs import artifact_of, graph_of

IMAGES = 12


def make_imported(folder: Path, **changes: Any) -> Path:
    """A YOLOX graph of four classes, of which the artifact drops one; scores and boxes depend on the image."""
    random = np.random.default_rng(0)
    rows = np.zeros((84, 9), np.float32)  # the cells of strides 8, 16 and 32
    rows[:, 2:4] = random.normal(0.6, 0.4, (84, 2))
    rows[:, 4:] = random.random((84, 5)) * 0.7
    gains = np.zeros_like(rows)
    gains[:, 2:] = random.random((84, 7)) * 0.3 / 255
    graph = graph_of({"output": rows[None]}, [1, 3, 64, 64], gains={"output": gains[None]})
    preprocessing = Preprocessing(
        resize="letterbox", height=64, width=64, pad=114, channels="BGR", interpolation="linear", rounding="down"
    )
    settings = {"name": "tiny-yolox", "graph_classes": ("dog", None, "cat", "tree"), "nms_threshold": 0.5}
    return artifact_of(graph, folder, YoloxDecoding(), preprocessing, **(settings | changes))


@pytest.fixture(scope="module", params=[0.5, None], ids=["suppressed", "not suppressed"])
def imported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_imported(tmp_path_factory.mktemp("imported") / "model", nms_threshold=request.param)


def test_threads_shards_and_processes_give_the_same_bytes(boxcar: Boxcar, imported: Path, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", IMAGES)
    found = []
    for name, shards, options in (
        ("alone", 1, ["--threads", 1]),
        ("threads", 1, ["--threads", 4]),
        ("shards", 3, ["--threads", 1]),
        ("processes", 1, ["--threads", 2, "--processes", 2]),
    ):
        output = tmp_path / name
        boxcar("plan", photos, output, "--model", imported, "--part-size", 2)
        for shard in reversed(range(shards)):
            boxcar("work", output, "--shard", shard, "--shards", shards, *options)
        found.append(part_bytes(output))
    assert found[0] and all(parts == found[0] for parts in found)
    records = records_of(tmp_path / "alone")
    counts = [len(record.boxes) for record in records]
    assert len(records) == IMAGES and min(counts) > 0 and len(set(counts)) > 1
    assert {box.label for record in records for box in record.boxes} == {"cat", "dog", "tree"}


def test_suppression_is_the_artifacts(boxcar: Boxcar, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 3)
    counts = []
    for name, threshold in (("with", 0.5), ("without", None)):
        model = make_imported(tmp_path / f"model {name}", nms_threshold=threshold)
        boxcar("run", photos, tmp_path / name, "--model", model)
        counts.append(sum(len(record.boxes) for record in records_of(tmp_path / name)))
    assert 0 < counts[0] < counts[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published run, beside its photographs; tests only read it."""
    folder = tmp_path_factory.mktemp("published")
    photos, model = write_photos(folder / "photos", IMAGES), make_imported(folder / "model")
    done = CliRunner().invoke(main, ["run", str(photos), str(folder / "run"), "--model", str(model)])
    assert done.exit_code == 0, done.output
    return folder / "run"


def test_rules_that_need_a_baseline_are_not_judged(boxcar: Boxcar, run: Path) -> None:
    said = boxcar("validate", run).stdout
    assert "verdict: valid" in said and said.count("the artifact has no baseline") == 3
    rules = {rule["rule"]: rule for rule in json.loads((run / VALIDATION).read_text())["rules"]}
    drift = {name: rules.pop(name) for name in DRIFT_RULES}
    assert {rule["verdict"] for rule in drift.values()} == {"skipped"}
    assert {drift[name]["observed"] for name in BOX_RULES} == {"the artifact has no baseline"}
    assert {rule["verdict"] for rule in rules.values()} == {"passed"}


def test_the_report_says_what_is_not_known(boxcar: Boxcar, run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    boxcar("report", copy)
    page = (copy / "report.html").read_text()
    assert "The artifact is not measured: it has no baseline to compare with." in page and "not judged" in page
    assert "tiny-yolox, 3 labels" in page


@pytest.mark.parametrize("to", ["coco", "coco-annotations", "csv", "parquet", "sagemaker"])
def test_its_boxes_are_converted(boxcar: Boxcar, run: Path, tmp_path: Path, to: str) -> None:
    boxes = sum(len(record.boxes) for record in records_of(run))
    assert f"{boxes:,}" in boxcar("convert", run, "--to", to, "--out", tmp_path).stdout
    assert list(tmp_path.iterdir())


def test_it_is_compared_with_another_artifact(boxcar: Boxcar, run: Path, tmp_path: Path) -> None:
    model = make_imported(tmp_path / "model", nms_threshold=None)
    boxcar("run", run.parent / "photos", tmp_path / "other", "--model", model)
    said = boxcar("diff", run, tmp_path / "other").stdout
    assert "note: the artifacts differ" in said and "tiny-yolox" in said


def test_its_origin_is_not_known_and_said_so(boxcar: Boxcar, run: Path) -> None:
    said = boxcar("lineage", run).stdout
    for line in (
        "artifact     tiny-yolox",
        "code         not known",
        "settings     not known",
        "data         not known",
    ):
        assert line in said


def test_status_and_show_know_the_run(boxcar: Boxcar, run: Path) -> None:
    assert f"{IMAGES} of {IMAGES}" in boxcar("status", run).stdout
    first = records_of(run)[0]
    said = boxcar("show", run, first.image).stdout
    assert first.boxes and all(box.label in said for box in first.boxes)


def test_records_are_copied_from_a_previous_run(boxcar: Boxcar, run: Path, tmp_path: Path) -> None:
    photos, model = run.parent / "photos", run.parent / "model"
    boxcar("run", photos, tmp_path / "next", "--model", model, "--since", run)
    before, after = records_of(run), records_of(tmp_path / "next")
    assert [record.boxes for record in after] == [record.boxes for record in before]
    stats = [json.loads(path.read_text()) for path in (tmp_path / "next/stats").glob("*.json")]
    assert sum(part["copied"] for part in stats) == IMAGES


def test_submit_plans_it(boxcar: Boxcar, bucket: Bucket, run: Path) -> None:
    bucket.upload(run.parent / "photos", "photos")
    said = boxcar(
        "submit", f"{bucket.uri}/photos/", f"{bucket.uri}/boxes/", "--model", run.parent / "model", "--queue", "q",
        "--definition", "d", "--dry-run",
    ).stdout  # fmt: skip
    assert f"{IMAGES}" in said


def test_doctor_tries_it(boxcar: Boxcar, run: Path, tmp_path: Path) -> None:
    said = boxcar("doctor", run.parent / "photos", tmp_path / "out", "--model", run.parent / "model").stdout
    assert "tiny-yolox" in said


def test_a_graph_that_gives_no_probabilities_ends_the_run_with_the_images_name(boxcar: Boxcar, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    model = make_imported(tmp_path / "model")
    description = json.loads((model / "model.json").read_text())
    description["preprocessing"]["std"] = [0.01, 0.01, 0.01]
    (model / "model.json").write_text(json.dumps(description))
    result = boxcar("run", photos, tmp_path / "run", "--model", model, code=6)
    assert "0001.png: model.onnx: gives scores from" in result.output and "Traceback" not in result.output
