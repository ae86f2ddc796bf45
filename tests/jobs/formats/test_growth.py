"""Files with fields of a later version, within the same schema version, are read as if these were not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from jobs.formats import PlannedImage, Record, read, sha256
from jobs.plan import plan_digest
from tests.jobs.helpers import Boxcar, records_of, write_photos

ADDED = {"added_later": {"schema": 9, "list": [1, None]}}


def _grow_json(path: Path, *nested: str) -> dict[str, Any]:
    """Add a field to a JSON file, to the objects below these names of it too; what it holds then."""
    content: dict[str, Any] = json.loads(path.read_bytes())
    for name in nested:
        items = content[name] if isinstance(content[name], list) else [content[name]]
        for item in items:
            item |= ADDED
    path.write_text(json.dumps(content | ADDED, indent=2) + "\n")
    return content


def _grow_lines(path: Path, nested: str | None = None) -> bytes:
    """Add a field to every line of a file, and to the objects of a list in it; its bytes then."""
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    for line in lines:
        for item in line[nested] if nested else []:
            item |= ADDED
    path.write_text("".join(json.dumps(line | ADDED) + "\n" for line in lines))
    return path.read_bytes()


def _grow_plan(output: Path) -> None:
    plan = json.loads((output / "plan.json").read_bytes())
    for part in plan["parts"]:
        old = output / f"plan/{part['name']}-{part['sha256'][:8]}.jsonl"
        part["sha256"] = sha256(_grow_lines(old))
        old.rename(output / f"plan/{part['name']}-{part['sha256'][:8]}.jsonl")
    digest = plan_digest(plan)
    (output / "plan.json").write_text(json.dumps(plan | {"digest": digest, "run": digest[:8]}))
    _grow_json(output / "plan.json", "filters", "parts")


def _grow_parts(output: Path) -> None:
    for path in (output / "boxes").iterdir():
        data = _grow_lines(path, "boxes")
        stats = output / f"stats/{path.stem}.json"
        stats.write_text(json.dumps(json.loads(stats.read_bytes()) | {"sha256": sha256(data)} | ADDED))


def _grow_published(output: Path, latest: Path) -> None:
    _grow_json(output / "quality/validation.json", "rules")
    manifest = output / "manifest.json"
    content = json.loads(manifest.read_bytes())
    content["validation_sha256"] = sha256((output / "quality/validation.json").read_bytes())
    manifest.write_text(json.dumps(content))
    _grow_json(manifest, "parts", "lineage", "cost")
    pointer = json.loads(latest.read_bytes()) | {"sha256": sha256(manifest.read_bytes())}
    latest.write_text(json.dumps(pointer | ADDED))


def test_a_run_with_fields_of_a_later_version(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    """It is resumed, finished, shown, compared, converted and taken over from; its bytes are left as they are."""
    photos, output, latest = write_photos(tmp_path / "photos", 5), tmp_path / "run", tmp_path / "latest.json"
    plan = ("--model", artifact, "--part-size", 2)
    boxcar("plan", photos, output, *plan)
    _grow_plan(output)
    boxcar("work", output, "--shard", 0, "--shards", 2)
    _grow_parts(output)
    grown = (output / "boxes/part-0000000.jsonl").read_bytes()
    stderr = boxcar("run", photos, output, *plan, "--latest", latest).stderr  # resumes
    assert [json.loads(line)["skipped"] for line in stderr.splitlines() if line.startswith("{")].count(True) == 2
    _grow_parts(output)  # the other part too, and the first ones twice
    (output / "manifest.json").unlink()
    boxcar("finish", output, "--latest", latest)
    _grow_published(output, latest)
    published = {path: path.read_bytes() for path in output.rglob("*.json*")}

    assert "published  valid, " in boxcar("status", output).stdout
    for command in (["finish", output, "--latest", latest], ["run", photos, output, *plan, "--latest", latest]):
        assert "valid" in boxcar(*command).stdout
    assert "verdict" in boxcar("report", output).stdout
    boxcar("lineage", output, "--image", "0001.png")
    for to in ("csv", "coco", "sagemaker"):
        boxcar("convert", output, "--to", to, "--out", tmp_path / "converted")
    assert {path: path.read_bytes() for path in output.rglob("*.json*")} == published
    assert b"added_later" in grown

    boxcar("run", photos, tmp_path / "again", *plan, "--since", latest)
    stats = [json.loads(path.read_bytes()) for path in (tmp_path / "again/stats").iterdir()]
    assert sum(part["copied"] for part in stats) == 5
    assert b"added_later" not in b"".join(path.read_bytes() for path in (tmp_path / "again/boxes").iterdir())
    found = json.loads(boxcar("diff", output, tmp_path / "again", "--json").stdout)
    assert found["images"]["both"] == found["images"]["compared"] == 5
    assert all(changes["a"] == changes["same"] == changes["b"] for changes in found["labels"].values())


def test_known_fields_of_a_plan_with_others_are_still_held_to_its_digest(
    boxcar: Boxcar, artifact: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    boxcar("plan", write_photos(tmp_path / "photos", 2), output, "--model", artifact)
    content = _grow_json(output / "plan.json")
    boxcar("status", output)
    for change in ({"min_score": 0.9}, {"redo": ["ok"]}, {"parts": [content["parts"][0] | {"count": 1}]}):
        (output / "plan.json").write_text(json.dumps(content | change))
        assert "changed since it was planned" in boxcar("status", output, code=2).stderr


def test_whoever_writes_may_not_add_a_field(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    boxcar("run", write_photos(tmp_path / "photos", 1), tmp_path / "run", "--model", artifact)
    (record,) = records_of(tmp_path / "run")
    for value in (record, PlannedImage(key="a", size=1, etag=None, mtime_ns=None)):
        fields = value.model_dump(by_alias=True) | ADDED
        with pytest.raises(ValidationError, match="added_later"):
            type(value)(**fields)
        assert read(type(value), json.dumps(fields).encode()) == value
    assert isinstance(record, Record)
