"""boxcar lineage: from a record back to everything that made it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.formats import Plan, sha256
from tests.jobs.helpers import Boxcar, write_photos


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


def test_a_copied_record_names_the_run_that_it_comes_from(
    boxcar: Boxcar, output: Path, artifact: Path, tmp_path: Path
) -> None:
    boxcar("run", tmp_path / "photos", tmp_path / "next", "--model", artifact, "--since", output)
    chain = _chain(boxcar("lineage", tmp_path / "next", "--image", "0001.png").stdout)
    before = json.loads((output / "plan.json").read_bytes())["run"]
    assert before in chain["previous"] and f"{output}/" in chain["copied"]
