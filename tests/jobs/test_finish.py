"""Nothing is published that is not whole, and what is whole is judged by the rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.finish import point_latest
from jobs.manifest import Manifest, sha256
from jobs.storage import open_store
from tests.jobs.helpers import Boxcar, write_photos


@pytest.fixture
def worked(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> Path:
    """A run of 5 images in 3 parts, all made, not published."""
    boxcar("plan", write_photos(tmp_path / "photos", 5), tmp_path / "run", "--model", artifact, "--part-size", 2)
    boxcar("work", tmp_path / "run")
    return tmp_path / "run"


def _edit(output: Path, change: Callable[[list[dict[str, Any]]], None], *, sign: bool) -> None:
    """Change the records of the first part; `sign`: and the digest that its worker noted."""
    part, stats = output / "boxes/part-0000000.jsonl", output / "boxes/part-0000000.stats.json"
    records = [json.loads(line) for line in part.read_bytes().splitlines()]
    change(records)
    data = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    part.write_bytes(data)
    if sign:
        stats.write_text(json.dumps(json.loads(stats.read_bytes()) | {"sha256": sha256(data)}))


@pytest.mark.parametrize("file", ["part-0000001.jsonl", "part-0000001.stats.json"])
def test_missing_part(boxcar: Boxcar, worked: Path, file: str) -> None:
    (worked / "boxes" / file).unlink()
    result = boxcar("finish", worked, code=4)
    assert "1 of 3 parts are not there: part-0000001 (missing)" in result.stderr
    assert not (worked / "manifest.json").exists()
    boxcar("validate", worked, code=4)
    boxcar("work", worked)
    boxcar("finish", worked)


def _drop(records: list[dict[str, Any]]) -> None:
    del records[1]


def _repeat(records: list[dict[str, Any]]) -> None:
    records[1] = records[0]


def _swap(records: list[dict[str, Any]]) -> None:
    records.reverse()


def _other_run(records: list[dict[str, Any]]) -> None:
    records[0]["run"] = "00000000"


def _other_schema(records: list[dict[str, Any]]) -> None:
    records[0]["schema"] = 2


def _not_a_number(records: list[dict[str, Any]]) -> None:
    records[0]["boxes"][0]["x"] = float("nan")


@pytest.mark.parametrize("change", [_drop, _repeat, _swap, _other_run, _other_schema, _not_a_number])
def test_part_that_is_not_the_plans(
    boxcar: Boxcar, worked: Path, change: Callable[[list[dict[str, Any]]], None]
) -> None:
    """Even with a digest that fits; and `work` mends what `finish` refuses."""
    good = (worked / "boxes/part-0000000.jsonl").read_bytes()
    _edit(worked, change, sign=True)
    assert "part-0000000 (" in boxcar("finish", worked, code=4).stderr
    boxcar("work", worked)
    assert (worked / "boxes/part-0000000.jsonl").read_bytes() == good
    boxcar("finish", worked)


def test_tampered_part(boxcar: Boxcar, worked: Path) -> None:
    """A score that was changed by hand, within all rules, is noticed by the digest."""

    def flatter(records: list[dict[str, Any]]) -> None:
        records[0]["boxes"][0]["score"] = 0.99

    boxcar("finish", worked)
    _edit(worked, flatter, sign=False)
    for command in ("finish", "validate"):
        assert "part-0000000 (changed since it was written)" in boxcar(command, worked, code=4).stderr


def test_broken_rule_is_rejected(boxcar: Boxcar, worked: Path) -> None:
    def exaggerate(records: list[dict[str, Any]]) -> None:
        records[0]["boxes"][0]["score"] = 1.5

    _edit(worked, exaggerate, sign=True)
    result = boxcar("validate", worked, code=3)
    failed = [line for line in result.stdout.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 1 and "scores_in_range" in failed[0]
    assert not (worked / "manifest.json").exists()  # validate judges, finish publishes
    boxcar("finish", worked, "--latest", worked.parent / "latest.json", code=3)
    manifest = Manifest.model_validate_json((worked / "manifest.json").read_bytes())
    assert manifest.status == "rejected"
    assert not (worked.parent / "latest.json").exists()
    with pytest.raises(ValueError, match="rejected"):
        point_latest(str(worked.parent / "latest.json"), open_store(str(worked)), manifest)


def test_validate_keeps_the_limit_of_the_manifest(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 3)
    (photos / "broken.png").write_bytes(b"")
    boxcar("run", photos, tmp_path / "run", "--model", artifact, "--max-failed", 0.5)
    assert "verdict: valid" in boxcar("validate", tmp_path / "run").stdout
    boxcar("finish", tmp_path / "run", "--max-failed", 0.1, code=3)
    result = boxcar("validate", tmp_path / "run", code=3)
    assert "failed_share" in result.stdout and str(photos / "broken.png") in result.stdout


def test_finish_twice_is_the_same_but_for_the_time(boxcar: Boxcar, worked: Path) -> None:
    def published() -> dict[str, Any]:
        content: dict[str, Any] = json.loads((worked / "manifest.json").read_bytes())
        assert content.pop("published_at")
        return content

    boxcar("finish", worked)
    first = published()
    boxcar("finish", worked)
    assert published() == first


def test_status_of_a_run_in_flight(boxcar: Boxcar, worked: Path) -> None:
    (worked / "boxes/part-0000002.stats.json").unlink()
    lines = dict(line.split(maxsplit=1) for line in boxcar("status", worked).stdout.splitlines())
    assert (lines["parts"], lines["images"], lines["published"]) == ("2 of 3", "4 of 5", "no")
    boxcar("work", worked)
    boxcar("finish", worked)
    lines = dict(line.split(maxsplit=1) for line in boxcar("status", worked).stdout.splitlines())
    assert lines["parts"] == "3 of 3" and lines["published"].startswith("valid, ")
