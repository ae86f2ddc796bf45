"""The JSON Schema is current, describes everything, and holds for what is written; other versions are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from jobs.formats import OtherSchemaError, PartStats, Record, Sample, decode_lines, read, sha256
from jobs.schema import FILES, json_schema
from tests.jobs.formats.conftest import Runs
from tests.jobs.helpers import Boxcar, records_of
from tests.support.verdicts import Known, verdicts

COMMITTED = Path(__file__).parents[3] / "docs/schema.json"
# Properties whose value has a unit, and a word of it that the description must have.
UNITS = {
    "bytes": "bytes", "bytes_read": "bytes", "size": "bytes", "cpu_seconds": "seconds", "seconds": "seconds",
    "step_seconds": "seconds", "mtime_ns": "nanoseconds", "x": "pixels", "y": "pixels", "width": "pixels",
    "height": "pixels", "score": "0 to 1", "min_score": "0 to 1", "max_failed": "0 to 1", "planned_at": "utc",
    "published_at": "utc", "started_at": "utc", "finished_at": "utc",
}  # fmt: skip


def test_the_committed_schema_is_what_the_command_prints(boxcar: Boxcar) -> None:
    assert boxcar("schema").stdout.encode() == COMMITTED.read_bytes(), "boxcar schema > docs/schema.json"


def test_it_is_one_valid_document_in_which_every_property_is_described() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert {model.__name__ for model in FILES} <= set(schema["$defs"])
    seen = set()
    for name, definition in schema["$defs"].items():
        assert definition["description"], name
        for field, content in definition["properties"].items():
            assert content.get("description"), (name, field)
            if field in UNITS:
                assert UNITS[field] in content["description"].lower(), (name, field)
                seen.add(field)
    assert seen == set(UNITS)


def _validator(kind: str, *, strict: bool = False) -> jsonschema.Draft202012Validator:
    """strict: properties that are not declared are an error."""
    schema = json_schema()
    if strict:
        for definition in schema["$defs"].values():
            definition["additionalProperties"] = False
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": schema["$defs"]})


def test_what_a_run_writes_is_valid(boxcar: Boxcar, made_runs: Runs, tmp_path: Path) -> None:
    output = made_runs.first
    boxcar("finish", output, "--max-failed", 0.5, "--latest", tmp_path / "latest.json")
    for name, earlier in (("one", []), ("two", ["--earlier", tmp_path / "one/sample.json"])):
        boxcar("sample", output, "--count", 2, "--to", "voc", "--out", tmp_path / name, *earlier)
    audited = shutil.copytree(output, tmp_path / "audited")
    boxcar("audit", "draw", audited, "--count", 4, "--images", 2, "--out", tmp_path / "audit")
    drawn = read(Sample, (tmp_path / "audit/sample.json").read_bytes())
    said = verdicts(drawn, records_of(audited), {image.image: [Known("cat", (0, 0, 9, 9))] for image in drawn.images})
    (tmp_path / "verdicts.json").write_bytes(said.canonical())
    boxcar("audit", "judge", audited, tmp_path / "verdicts.json", "--precision", 0.5)
    files = {
        "Manifest": [output / "manifest.json"],
        "Validation": [output / "quality/validation.json"],
        "RunProfile": [output / "quality/profile.json"],
        "Plan": [output / "plan.json"],
        "Latest": [tmp_path / "latest.json"],
        "PartStats": sorted((output / "stats").glob("*.json")),
        "Record": sorted((output / "boxes").glob("*.jsonl")),
        "PlannedImage": sorted((output / "plan").glob("*.jsonl")),
        "Sample": [tmp_path / name / "sample.json" for name in ("one", "two", "audit")],
        "Verdicts": [tmp_path / "verdicts.json"],
        "Audit": [audited / "quality/audit.json"],
    }
    assert set(files) == {model.__name__ for model in FILES}
    whole = jsonschema.Draft202012Validator(json_schema())
    for kind, paths in files.items():
        assert paths
        for path in paths:
            for text in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
                _validator(kind, strict=True).validate(json.loads(text))
                _validator(kind).validate(json.loads(text) | {"added_later": 1})
                whole.validate(json.loads(text))


def test_the_schema_refuses_what_is_none_of_them() -> None:
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid({"schema": 2, "run": "3f2a9c1e"})
    assert not _validator("Record").is_valid({"schema": 1, "run": "3f2a9c1e"})


def _raise_version(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 2, "more": 1}))


def test_another_version_of_a_manifest_is_refused(boxcar: Boxcar, first: Path, tmp_path: Path) -> None:
    _raise_version(first / "manifest.json")
    for command in (["status", first], ["convert", first, "--to", "csv", "--out", tmp_path], ["diff", first, first]):
        (line,) = boxcar(*command, code=2).stderr.splitlines()
        assert line == (
            f"error: {first}/manifest.json: schema 2 is not read here, only schema 1; use a newer boxcar"
        )  # fmt: skip
    assert not list(tmp_path.glob("*.csv"))


def test_another_version_of_a_plan_is_refused(boxcar: Boxcar, first: Path) -> None:
    """And with it the part's images and statistics, which are only read after it."""
    _raise_version(first / "plan.json")
    for command in ("status", "work", "finish"):
        (line,) = boxcar(command, first, code=2).stderr.splitlines()
        assert f"{first}/plan.json" in line and "schema 2 is not read here, only schema 1; use a newer boxcar" in line
    assert "schema" not in PartStats.model_fields


def test_another_version_of_latest_json_is_refused(boxcar: Boxcar, made_runs: Runs, tmp_path: Path) -> None:
    latest = tmp_path / "latest.json"
    boxcar("finish", made_runs.first, "--max-failed", 0.5, "--latest", latest)
    _raise_version(latest)
    (line,) = boxcar("finish", made_runs.first, "--max-failed", 0.5, "--latest", latest, code=2).stderr.splitlines()
    assert line == f"error: --latest {latest}: schema 2 is not read here, only schema 1; use a newer boxcar"
    model = made_runs.first / "model"
    plan = ("plan", made_runs.photos, tmp_path / "next", "--model", model, "--since", latest)
    assert f"--since {latest}: schema 2 is not read here" in boxcar(*plan, code=2).stderr


def _with_other_records(output: Path, change: Callable[[bytes], bytes]) -> None:
    """A part whose digest fits."""
    path = output / "boxes/part-0000001.jsonl"
    path.write_bytes(change(path.read_bytes()))
    manifest: dict[str, Any] = json.loads((output / "manifest.json").read_bytes())
    manifest["parts"][1]["sha256"] = sha256(path.read_bytes())
    (output / "manifest.json").write_text(json.dumps(manifest))


def test_another_version_of_records_is_refused(boxcar: Boxcar, first: Path, tmp_path: Path) -> None:
    _with_other_records(first, lambda data: data.replace(b'{"schema":1,', b'{"schema":2,"more":1,'))
    (line,) = boxcar("convert", first, "--to", "csv", "--out", tmp_path, code=2).stderr.splitlines()
    part = f"{first}/boxes/part-0000001.jsonl"
    assert line == f"error: {part}: line 1: schema 2 is not read here, only schema 1; use a newer boxcar"


def test_a_line_of_another_version_is_told_from_a_damaged_one(made_runs: Runs) -> None:
    data = (made_runs.first / "boxes/part-0000000.jsonl").read_bytes()
    with pytest.raises(OtherSchemaError, match="line 1: schema 2"):
        decode_lines(Record, data.replace(b'"schema":1', b'"schema":2'))
    for damaged in (data.replace(b'"schema":1', b'"schema":"a"'), data.replace(b'"run"', b'"ran"')):
        with pytest.raises(ValueError, match="line 1") as caught:
            decode_lines(Record, damaged)
        assert not isinstance(caught.value, OtherSchemaError)
