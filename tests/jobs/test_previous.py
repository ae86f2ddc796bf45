"""A run that goes on from another: which records are copied, and which previous runs are refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import UsageError
from jobs.formats import RECORDS_VERSION, Plan, PlannedImage, decode_lines
from jobs.previous import PARTS_HELD, PreviousRun
from jobs.storage import FolderStore
from tests.conftest import Bucket
from tests.jobs.helpers import Boxcar, encoded, records_of, write_photos
from tests.support.artifacts import write_as_version_4

pytestmark = pytest.mark.slow


def _plan(output: Path) -> Plan:
    return Plan.model_validate_json((output / "plan.json").read_bytes())


def _planned(output: Path) -> list[PlannedImage]:
    parts = sorted((output / "plan").glob("*.jsonl"))
    return [image for part in parts for image in decode_lines(PlannedImage, part.read_bytes())]


Published = Callable[..., Path]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = write_photos(tmp_path / "photos", 9)
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "empty.png").write_bytes(b"")
    return folder


@pytest.fixture
def first(boxcar: Boxcar, artifact: Path, photos: Path, tmp_path: Path) -> Path:
    """A published run over `photos`, in four parts."""
    boxcar("run", photos, tmp_path / "first", "--model", artifact, "--part-size", 3, "--max-failed", 0.5)
    return tmp_path / "first"


def test_what_has_not_changed_is_copied(
    boxcar: Boxcar, artifact: Path, photos: Path, first: Path, tmp_path: Path
) -> None:
    """The records are those of a run that computes everything, but for the run's name."""
    (photos / "0001.png").write_bytes(encoded(100))  # another size or time
    (photos / "0002.png").unlink()
    (photos / "0000-new.png").write_bytes(encoded(101))
    status = (photos / "0004.png").stat()
    (photos / "0004.png").write_bytes((photos / "0004.png").read_bytes())
    os.utime(photos / "0004.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))  # the same bytes, at another time
    result = boxcar("plan", photos, tmp_path / "next", "--model", artifact, "--part-size", 2, "--since", first)
    plan = _plan(tmp_path / "next")
    assert (plan.images, plan.copies) == (11, 8)
    assert "unchanged  8 (their records may be copied)" in result.stdout
    assert plan.since is not None
    assert (plan.since.given, plan.since.output, plan.since.run) == (str(first), f"{first}/", _plan(first).run)

    previous = PreviousRun.open(plan)
    assert previous is not None
    there = {record.image: record for record in records_of(first)}
    computed = []
    for image in _planned(tmp_path / "next"):
        record = previous.record(image)
        if record is None:
            computed.append(image.key)
        else:
            assert record == there[plan.input + image.key].model_copy(update={"run": plan.run})
    assert computed == ["0000-new.png", "0001.png", "0004.png"]

    boxcar("work", tmp_path / "next")
    boxcar("run", photos, tmp_path / "whole", "--model", artifact, "--max-failed", 0.5)
    ours, theirs = records_of(tmp_path / "next"), records_of(tmp_path / "whole")
    assert [record.model_copy(update={"run": ""}) for record in ours] == [
        record.model_copy(update={"run": ""}) for record in theirs
    ]


@pytest.mark.slow
def test_from_a_bucket_with_a_latest_json(boxcar: Boxcar, bucket: Bucket, artifact: Path, tmp_path: Path) -> None:
    """Night after night the same command, but for OUTPUT."""
    bucket.upload(write_photos(tmp_path / "photos", 4), "photos")
    latest = f"{bucket.uri}/latest.json"

    def night(number: int) -> tuple[Plan, str]:
        output = f"{bucket.uri}/{number}"
        options = ("--model", artifact, "--part-size", 3, "--latest", latest, "--since", latest)
        printed = boxcar("run", f"{bucket.uri}/photos", output, *options).stderr
        boxcar("run", f"{bucket.uri}/photos", output, *options)  # again, when latest.json has moved
        return Plan.model_validate_json((bucket.folder / str(number) / "plan.json").read_bytes()), printed

    plan, printed = night(1)
    assert (plan.copies, plan.since and plan.since.output) == (0, None)
    assert f"{latest}: not there yet, so nothing is copied" in printed
    bucket.put("photos/0001.png", encoded(7))
    plan, printed = night(2)
    assert (plan.copies, plan.since and plan.since.output) == (3, f"{bucket.uri}/1/")
    assert "nothing is copied" not in printed
    plan, _ = night(3)
    assert (plan.copies, plan.since and plan.since.output) == (4, f"{bucket.uri}/2/")


@pytest.mark.parametrize("other", ["artifact", "--min-score", "INPUT"])
def test_a_run_of_something_else_is_not_copied(
    boxcar: Boxcar, artifact: Path, make_artifact: Callable[..., Path], photos: Path, first: Path, tmp_path: Path,
    other: str,
) -> None:  # fmt: skip
    """A schedule goes on when the artifact has changed, and says why everything is computed."""
    model = make_artifact(tmp_path / "model", bias=0.1, proposals=False) if other == "artifact" else artifact
    source = write_photos(tmp_path / "others", 2) if other == "INPUT" else photos
    options = ("--min-score", 0.9) if other == "--min-score" else ()
    arguments = ("plan", source, tmp_path / "next", "--model", model, *options, "--since", first)
    result = boxcar(*arguments)
    assert f"nothing is copied from {first}/: {other} is " in result.stderr
    plan = _plan(tmp_path / "next")
    assert plan.copies == 0 and PreviousRun.open(plan) is None
    assert plan.run == _plan(tmp_path / "next").run
    boxcar(*arguments)  # the same plan, not another


def test_a_converted_artifact_finds_the_same_boxes(
    boxcar: Boxcar, make_artifact: Callable[..., Path], photos: Path, tmp_path: Path
) -> None:
    """Its description has another schema or other figures, and its digest is another one."""
    older = make_artifact(tmp_path / "older", proposals=False)
    shutil.copytree(older, tmp_path / "newer")
    write_as_version_4(older)
    boxcar("run", photos, tmp_path / "first", "--model", older, "--max-failed", 0.5)
    plan = json.loads((tmp_path / "first/plan.json").read_bytes())
    arguments = ("plan", photos, tmp_path / "next", "--model", tmp_path / "newer", "--since", tmp_path / "first")
    result = boxcar(*arguments)
    assert "nothing is copied" not in result.stderr
    assert _plan(tmp_path / "next").copies == 11
    assert _plan(tmp_path / "next").artifact_sha256 != plan["artifact_sha256"]


def test_records_of_another_version_are_not_copied(
    boxcar: Boxcar, artifact: Path, photos: Path, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.plan.RECORDS_VERSION", RECORDS_VERSION + 1)
    result = boxcar("plan", photos, tmp_path / "next", "--model", artifact, "--since", first)
    assert (
        f"nothing is copied from {first}/: its records are of version {RECORDS_VERSION}, and this boxcar makes version "
        f"{RECORDS_VERSION + 1}"
    ) in result.stderr
    assert _plan(tmp_path / "next").copies == 0


def test_a_plan_of_a_newer_version_is_left_to_its_boxcar(
    boxcar: Boxcar, artifact: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("jobs.plan.RECORDS_VERSION", RECORDS_VERSION + 1)
        boxcar("plan", photos, tmp_path / "run", "--model", artifact)
    said = boxcar("work", tmp_path / "run", code=2).stderr
    assert "use the boxcar that planned the run" in said and not (tmp_path / "run/boxes").exists()


def test_redo(boxcar: Boxcar, artifact: Path, photos: Path, first: Path, tmp_path: Path) -> None:
    arguments = ("plan", photos, tmp_path / "next", "--model", artifact, "--since", first)
    boxcar(*arguments, "--redo", "unreadable", "--redo", "missing")
    plan = _plan(tmp_path / "next")
    assert plan.redo == ["missing", "unreadable"]
    previous = PreviousRun.open(plan)
    assert previous is not None
    again = [image.key for image in _planned(tmp_path / "next") if previous.record(image) is None]
    assert again == ["broken.png"]
    assert "--redo is missing,unreadable there, none here" in boxcar(*arguments, code=2).stderr
    assert "--since" in boxcar("plan", photos, tmp_path / "b", "--model", artifact, "--redo", "ok", code=2).stderr
    assert "not a status" in boxcar(*arguments, "--redo", "wrong", code=2).stderr


@pytest.mark.parametrize("status", ["missing", "forbidden", "changed"])
def test_what_says_nothing_of_the_bytes_is_computed_again(
    boxcar: Boxcar, artifact: Path, photos: Path, first: Path, tmp_path: Path, status: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    boxcar("plan", photos, tmp_path / "next", "--model", artifact, "--since", first)
    previous = PreviousRun.open(_plan(tmp_path / "next"))
    assert previous is not None
    image = _planned(tmp_path / "next")[0]
    read = previous._read
    monkeypatch.setattr(
        previous, "_read", lambda entry: [found.model_copy(update={"status": status}) for found in read(entry)]
    )
    assert previous.record(image) is None


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda first: (first / "manifest.json").unlink(), "no published run there"),
        (lambda first: (first / "manifest.json").write_text("{}"), "not a manifest"),
        (lambda first: _edit(first / "manifest.json", lambda content: content.update(status="rejected")), "rejected"),
        (lambda first: _edit(first / "manifest.json", lambda content: content.update(run="00000000")), "is of run"),
        (lambda first: next((first / "plan").iterdir()).write_bytes(b""), "changed since it was planned"),
    ],
)
def test_a_previous_run_that_cannot_be_planned_from(
    boxcar: Boxcar, artifact: Path, photos: Path, first: Path, tmp_path: Path,
    damage: Callable[[Path], object], reason: str,
) -> None:  # fmt: skip
    damage(first)
    assert reason in boxcar("plan", photos, tmp_path / "n", "--model", artifact, "--since", first, code=2).stderr
    assert not (tmp_path / "n/plan.json").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{}", "not a latest.json"),
        (
            b'{"schema": 1, "run": "1", "planned_at": "2024-01-01", "manifest": "MANIFEST", "sha256": "0"}',
            "not the manifest that was published",
        ),
        (
            b'{"schema": 1, "run": "1", "planned_at": "2024-01-01", "manifest": "MANIFEST.gone.json", "sha256": "0"}',
            "is missing",
        ),
    ],
)
def test_a_latest_json_that_cannot_be_used(
    boxcar: Boxcar, artifact: Path, photos: Path, first: Path, tmp_path: Path, content: bytes, reason: str
) -> None:
    latest = tmp_path / "latest.json"
    latest.write_bytes(content.replace(b"MANIFEST", str(first / "manifest.json").encode()))
    assert reason in boxcar("plan", photos, tmp_path / "n", "--model", artifact, "--since", latest, code=2).stderr


def test_without_the_profile_of_the_previous_run_its_records_are_copied_all_the_same(
    boxcar: Boxcar, artifact: Path, photos: Path, first: Path, tmp_path: Path
) -> None:
    """The profile says only what drift is measured from."""
    profile = first / "quality/profile.json"
    for name, damage in {"changed": lambda: profile.write_bytes(b"{}"), "gone": profile.unlink}.items():
        damage()
        result = boxcar("plan", photos, tmp_path / name, "--model", artifact, "--since", first)
        assert f"boxcar finish {first}/" in result.stderr and "artifact's test images" in result.stderr
        plan = _plan(tmp_path / name)
        assert plan.copies == 11 and plan.since is not None and plan.since.profile_sha256 is None
        assert not (tmp_path / name / "quality").exists()


@pytest.mark.parametrize("damage", ["part changed", "part gone", "manifest changed", "manifest gone"])
def test_a_previous_run_that_changes_after_the_plan(
    boxcar: Boxcar, artifact: Path, photos: Path, first: Path, tmp_path: Path, damage: str
) -> None:
    boxcar("plan", photos, tmp_path / "next", "--model", artifact, "--since", first)
    plan = _plan(tmp_path / "next")
    path = first / ("boxes/part-0000001.jsonl" if "part" in damage else "manifest.json")
    if "gone" in damage:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b"\n")

    def copy() -> None:
        previous = PreviousRun.open(plan)
        assert previous is not None
        for image in _planned(tmp_path / "next"):
            previous.record(image)

    with pytest.raises(UsageError, match=r"missing|changed") as caught:
        copy()
    assert "plan again without --since, in a new OUTPUT" in str(caught.value) and path.name in str(caught.value)


def test_each_part_is_read_once_and_few_are_held(
    boxcar: Boxcar, artifact: Path, photos: Path, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxcar("plan", photos, tmp_path / "next", "--model", artifact, "--since", first)
    previous = PreviousRun.open(_plan(tmp_path / "next"))
    assert previous is not None
    read: list[str] = []
    original = FolderStore.read
    monkeypatch.setattr(FolderStore, "read", lambda self, key: read.append(key) or original(self, key))
    for image in _planned(tmp_path / "next"):
        assert previous.record(image) is not None
        assert len(previous._parts) <= PARTS_HELD
    assert read == [f"boxes/part-000000{number}.jsonl" for number in range(4)]
