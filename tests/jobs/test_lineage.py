"""boxcar lineage: from a record back to everything that made it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.runtime.artifact import load_artifact, save_artifact
from detector.runtime.label_run import LabelRun
from jobs.formats import Plan, sha256
from tests.jobs.helpers import Boxcar, write_photos
from tests.support.published import write_run


@pytest.fixture
def output(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> Path:
    boxcar("run", write_photos(tmp_path / "photos", 5), tmp_path / "run", "--model", artifact, "--part-size", 2)
    return tmp_path / "run"


def _chain(text: str) -> dict[str, str]:
    return {line.split()[0]: line for line in text.splitlines() if line}


def test_every_link_is_named_by_its_digest(boxcar: Boxcar, output: Path, artifact: Path) -> None:
    chain = _chain(boxcar("lineage", output).stdout)
    plan = Plan.model_validate_json((output / "plan.json").read_bytes())
    card = json.loads((artifact / "model.json").read_bytes())
    assert sha256((output / "manifest.json").read_bytes()) in chain["manifest"]
    assert plan.digest in chain["plan"]
    assert sha256((output / "model/model.json").read_bytes()) in chain["model.json"]
    assert sha256((output / "model/model.onnx").read_bytes()) in chain["model.onnx"]
    assert f"--model {artifact}" in chain["artifact"]
    assert card["git_revision"] in chain["code"] and card["git_revision"] in chain["git"]
    assert chain["labels"].endswith("no run is recorded")
    assert card["params_digest"] in chain["settings"] and card["data_digest"] in chain["data"]


def test_one_image_leads_to_its_line(boxcar: Boxcar, output: Path, tmp_path: Path) -> None:
    lines = [
        (part.name, number, json.loads(line))
        for part in sorted((output / "boxes").glob("*.jsonl"))
        for number, line in enumerate(part.read_bytes().splitlines(), start=1)
    ]
    assert len(lines) == 5
    for name, number, record in lines:
        by_uri = boxcar("lineage", output, "--image", record["image"]).stdout
        key = record["image"].removeprefix(f"{tmp_path}/photos/")
        assert boxcar("lineage", output, "--image", key).stdout == by_uri
        chain = _chain(by_uri)
        assert f"boxes/{name}, line {number}: ok, {len(record['boxes'])} boxes" in chain["record"]
        assert record["etag"] in chain["version"]
        assert sha256((output / "boxes" / name).read_bytes()) in chain["part"]


def test_what_is_not_there(boxcar: Boxcar, output: Path) -> None:
    assert "not an image of run" in boxcar("lineage", output, "--image", "0002b.png", code=2).stderr
    part = output / "boxes/part-0000000.jsonl"
    part.write_bytes(part.read_bytes() + b"\n")
    assert "changed since it was published" in boxcar("lineage", output, "--image", "0001.png", code=2).stderr
    (output / "manifest.json").unlink()
    assert "no published run here" in boxcar("lineage", output, code=2).stderr


def test_the_runs_behind_an_artifact_are_followed_while_they_are_there(
    boxcar: Boxcar, make_artifact: Callable[..., Path], tmp_path: Path
) -> None:
    """Runs of a first, a second and a third artifact, each trained with boxes of the run before."""

    def learnt_from(run: Path) -> LabelRun:
        manifest = (run / "manifest.json").read_bytes()
        content = json.loads(manifest)
        return LabelRun(
            uri=str(run), run=content["run"], manifest_sha256=sha256(manifest), images=1800, boxes=4200, corrected=200,
            artifact=content["lineage"]["artifact_name"], artifact_sha256=content["lineage"]["artifact_sha256"],
            least_scores={"cat": 0.6, "dog": 0.4},
        )  # fmt: skip

    card: dict[str, Any] = {"classes": ["cat", "dog"]}
    first = write_run(tmp_path / "first", "/photos/", [], card=json.dumps(card), run="1" * 8)
    card |= {"label_runs": [learnt_from(first).model_dump() | {"of_a_later_version": 1}]}
    second = write_run(tmp_path / "second", "/photos/", [], card=json.dumps(card), run="2" * 8)
    folder = make_artifact(tmp_path / "model", proposals=False)
    save_artifact(load_artifact(folder).model_copy(update={"label_runs": (learnt_from(second),)}), folder)
    third = tmp_path / "third"
    boxcar("run", write_photos(tmp_path / "photos", 2), third, "--model", folder)

    text = boxcar("lineage", third).stdout
    lines = [line.strip() for line in text.split("came from:\n", 1)[1].splitlines()]
    assert lines[1] == "1,800 images; 4,200 boxes became objects; people corrected 200 images"
    assert lines[2] == "least scores: dog 0.4, cat 0.6" and "no run is recorded behind it" in lines
    assert [line.split()[1] for line in lines if line.startswith("run ")] == ["2" * 8, "1" * 8]
    content = json.loads(boxcar("lineage", third, "--json", "--image", "0001.png").stdout)
    (link,) = content["label_runs"]
    assert content["image"].endswith("0001.png") and link["uri"] == str(second) and link["not_followed"] is None
    (before,) = link["label_runs"]
    assert (before["uri"], before["images"], before["label_runs"]) == (str(first), 1800, [])

    shutil.copyfile(first / "manifest.json", second / "manifest.json")
    (link,) = json.loads(boxcar("lineage", third, "--json").stdout)["label_runs"]
    assert link["label_runs"] is None and link["not_followed"] == f"{second}/ holds another run now"
    shutil.rmtree(second)
    assert f"not followed: {second}/: no published run here" in boxcar("lineage", third).stdout
    (third / "model/model.json").unlink()
    assert "not known: " in _chain(boxcar("lineage", third).stdout)["labels"]


def test_a_copied_record_names_the_run_that_it_comes_from(
    boxcar: Boxcar, output: Path, artifact: Path, tmp_path: Path
) -> None:
    boxcar("run", tmp_path / "photos", tmp_path / "next", "--model", artifact, "--since", output)
    chain = _chain(boxcar("lineage", tmp_path / "next", "--image", "0001.png").stdout)
    before = json.loads((output / "plan.json").read_bytes())["run"]
    assert before in chain["previous"] and f"{output}/" in chain["copied"]
