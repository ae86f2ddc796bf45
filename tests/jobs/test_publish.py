"""Nothing is published that is not whole, and what is whole is judged by the rules."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import RejectedError
from jobs.formats import Manifest, Validation, sha256
from jobs.latest import LatestPointer
from jobs.rules import drift
from jobs.rules.review import Review
from jobs.storage import FolderStore, open_store
from jobs.worker import Worker
from tests.jobs.helpers import Boxcar, write_photos

pytestmark = pytest.mark.slow


@pytest.fixture
def worked(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> Path:
    """A run of 5 images in 3 parts, all made, not published."""
    boxcar("plan", write_photos(tmp_path / "photos", 5), tmp_path / "run", "--model", artifact, "--part-size", 2)
    boxcar("work", tmp_path / "run")
    return tmp_path / "run"


def _edit(output: Path, change: Callable[[list[dict[str, Any]]], None], *, sign: bool) -> None:
    """Change the records of the first part; `sign`: and the digest that its worker noted."""
    part, stats = output / "boxes/part-0000000.jsonl", output / "stats/part-0000000.json"
    records = [json.loads(line) for line in part.read_bytes().splitlines()]
    change(records)
    data = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    part.write_bytes(data)
    if sign:
        stats.write_text(json.dumps(json.loads(stats.read_bytes()) | {"sha256": sha256(data)}))


@pytest.mark.parametrize("file", ["boxes/part-0000001.jsonl", "stats/part-0000001.json"])
def test_missing_part(boxcar: Boxcar, worked: Path, file: str) -> None:
    (worked / file).unlink()
    result = boxcar("finish", worked, code=4)
    assert "1 of 3 parts are not there: part-0000001 (missing)" in result.stderr
    assert not (worked / "manifest.json").exists()
    boxcar("validate", worked, code=4)
    boxcar("work", worked)
    boxcar("finish", worked)


def test_missing_parts_are_named_as_ranges(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    boxcar("plan", write_photos(tmp_path / "photos", 12), output, "--model", artifact, "--part-size", 1)
    boxcar("work", output)
    for number in (0, 2, 3, 4, 9):
        (output / f"boxes/part-{number:07d}.jsonl").unlink()
    (output / "boxes/part-0000010.jsonl").write_bytes(b"")
    assert (
        "6 of 12 parts are not there: part-0000000 (missing), part-0000002 to part-0000004 (missing), "
        "part-0000009 (missing), part-0000010 (changed since it was written); make them with: boxcar work"
    ) in boxcar("finish", output, code=4).stderr


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


@pytest.mark.parametrize("change", [_drop, _repeat, _swap, _other_run, _not_a_number])
def test_part_that_is_not_the_plans(
    boxcar: Boxcar, worked: Path, change: Callable[[list[dict[str, Any]]], None]
) -> None:
    """Even with a digest that fits; and `work` repairs what `finish` refuses."""
    good = (worked / "boxes/part-0000000.jsonl").read_bytes()
    _edit(worked, change, sign=True)
    assert "part-0000000 (" in boxcar("finish", worked, code=4).stderr
    boxcar("work", worked)
    assert (worked / "boxes/part-0000000.jsonl").read_bytes() == good
    boxcar("finish", worked)


def test_part_of_another_schema_version_is_refused(boxcar: Boxcar, worked: Path) -> None:
    """A newer boxcar made it: neither `finish` nor `work` takes it for damaged."""
    _edit(worked, _other_schema, sign=True)
    made = (worked / "boxes/part-0000000.jsonl").read_bytes()
    for command in ("finish", "work", "validate"):
        (line,) = boxcar(command, worked, code=2).stderr.splitlines()
        assert f"{worked}/boxes/part-0000000.jsonl: line 1: schema 2 is not read here, only schema 1" in line
        assert "use a newer boxcar" in line
    assert (worked / "boxes/part-0000000.jsonl").read_bytes() == made


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
    failed = [line for line in result.stdout.splitlines() if line.startswith("rejected")]
    assert len(failed) == 1 and "scores_in_range" in failed[0]
    assert not (worked / "manifest.json").exists()  # validate judges, finish publishes
    boxcar("finish", worked, "--latest", worked.parent / "latest.json", code=3)
    manifest = Manifest.model_validate_json((worked / "manifest.json").read_bytes())
    assert manifest.status == "rejected"
    assert not (worked.parent / "latest.json").exists()
    with pytest.raises(RejectedError, match="rejected"):
        LatestPointer(str(worked.parent / "latest.json"), "/photos/", open_store(str(worked))).move()


def test_validate_keeps_the_limit_of_the_manifest(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 3)
    (photos / "broken.png").write_bytes(b"")
    boxcar("run", photos, tmp_path / "run", "--model", artifact, "--max-failed", 0.2, code=3)
    result = boxcar("validate", tmp_path / "run", code=3)
    assert "failed_share" in result.stdout and str(photos / "broken.png") in result.stdout
    boxcar("finish", tmp_path / "run", "--max-failed", 0.5)
    assert "verdict: valid" in boxcar("validate", tmp_path / "run").stdout


def test_drift_warns_and_rejects_only_where_it_is_asked_to(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two boxes an image where the artifact's test images had ten."""
    monkeypatch.setattr(drift, "DRIFT_IMAGES", 3)
    model = tmp_path / "model"
    shutil.copytree(artifact, model)
    card = json.loads((model / "model.json").read_bytes())
    boxes = {name: [100] * 10 for name in card["classes"]}
    card["baseline"] = {"images": 10, "boxes": boxes, "sizes": [[30] * 10] * 10}
    (model / "model.json").write_text(json.dumps(card))
    photos, latest = write_photos(tmp_path / "photos", 3), tmp_path / "latest.json"

    result = boxcar("run", photos, tmp_path / "run", "--model", model, "--latest", latest)
    assert "warning: boxes_per_image_drift" in result.stderr
    manifest = Manifest.model_validate_json((tmp_path / "run/manifest.json").read_bytes())
    assert (manifest.status, manifest.warnings, manifest.strict) == ("valid", ["boxes_per_image_drift"], [])
    before = latest.read_bytes()

    strict = ("--strict", "boxes_per_image_drift")
    assert "published as valid" in boxcar("finish", tmp_path / "run", *strict, code=2).stderr
    boxcar("run", photos, tmp_path / "strict", "--model", model, "--latest", latest, *strict, code=3)
    assert latest.read_bytes() == before
    output = boxcar("validate", tmp_path / "strict", code=3).stdout  # by the manifest's policy
    assert "rejected  boxes_per_image_drift" in output


def test_valid_stays_as_it_was_published(boxcar: Boxcar, worked: Path) -> None:
    """latest.json names the manifest's bytes, so that they must not change under it."""
    run = ("run", worked.parent / "photos", worked, "--model", worked / "model", "--part-size", 2)
    boxcar("finish", worked)
    path = worked / "manifest.json"
    # As if it had been published in another second, by another version.
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"published_at": "2024-01-01T00:00:00+00:00"}))
    before = path.read_bytes()
    for command in (("finish", worked), run):
        boxcar(*command)
        assert path.read_bytes() == before
        result = boxcar(*command, "--max-failed", 0.5, code=2)
        assert "published as valid with --max-failed 0.1" in result.stderr and "boxcar validate" in result.stderr
        assert path.read_bytes() == before


def test_latest_names_the_stored_bytes(boxcar: Boxcar, worked: Path) -> None:
    """Not what this version of ours would write."""
    boxcar("finish", worked)
    path, latest = worked / "manifest.json", worked.parent / "latest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes())))
    run = ("run", worked.parent / "photos", worked, "--model", worked / "model", "--part-size", 2)
    for command in (run, ("finish", worked)):
        boxcar(*command, "--latest", latest)
        assert json.loads(latest.read_bytes())["sha256"] == sha256(path.read_bytes())
        latest.unlink()


@pytest.mark.parametrize("ours", ["valid", "rejected"])
def test_of_two_that_finish_at_once_the_first_valid_one_stays(
    boxcar: Boxcar, worked: Path, monkeypatch: pytest.MonkeyPatch, ours: str
) -> None:
    """latest.json may name its bytes, in which at least the time differs."""
    swap = FolderStore.swap

    def overtaken(self: FolderStore, key: str, data: bytes, etag: str | None) -> bool:
        monkeypatch.setattr(FolderStore, "swap", swap)
        assert json.loads(data)["status"] == ours
        theirs = json.loads(data) | {"published_at": "2000-01-01T00:00:00+00:00", "status": "valid"}
        (worked / key).write_text(json.dumps(theirs))
        return self.swap(key, data, etag)

    if ours == "rejected":
        (worked.parent / "photos/0001.png").write_bytes(b"broken")
        (worked / "boxes/part-0000000.jsonl").unlink()
        boxcar("work", worked)
    monkeypatch.setattr(FolderStore, "swap", overtaken)
    boxcar("finish", worked)
    assert json.loads((worked / "manifest.json").read_bytes())["published_at"].startswith("2000")


@pytest.mark.parametrize("other", ["2000-01-01T00:00:00+00:00", "2100-01-01T00:00:00+00:00"])
def test_latest_between_two_runs_that_end_at_once(
    boxcar: Boxcar, worked: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """Another run moves latest.json between our look at it and our write: the one planned later is named."""
    latest = worked.parent / "latest.json"
    boxcar("finish", worked, "--latest", latest)
    ours = json.loads(latest.read_bytes())
    latest.unlink()
    swap = FolderStore.swap

    def overtaken(self: FolderStore, key: str, data: bytes, etag: str | None) -> bool:
        monkeypatch.setattr(FolderStore, "swap", swap)
        latest.write_text(json.dumps(ours | {"run": "other", "planned_at": other}))
        return self.swap(key, data, etag)

    monkeypatch.setattr(FolderStore, "swap", overtaken)
    result = boxcar("finish", worked, "--latest", latest)
    assert json.loads(latest.read_bytes())["run"] == (ours["run"] if other < ours["planned_at"] else "other")
    assert ("was kept: it names run other" in result.stdout) == (other > ours["planned_at"])


def test_latest_moves_forward_only(boxcar: Boxcar, worked: Path) -> None:
    """A run that was planned before the one that latest.json names is published, and leaves it alone."""
    latest = worked.parent / "latest.json"
    boxcar("finish", worked, "--latest", latest)
    named = json.loads(latest.read_bytes())
    for planned_at, moves in ((named["planned_at"], True), ("2024-01-01T00:00:00+00:00", True),
                              ("2999-01-01T00:00:00+00:00", False)):  # fmt: skip
        latest.write_text(json.dumps(named | {"run": "other", "planned_at": planned_at}))
        before = latest.read_bytes()
        result = boxcar("finish", worked, "--latest", latest)
        assert json.loads(latest.read_bytes())["run"] == (named["run"] if moves else "other")
        assert (
            (latest.read_bytes() == before)
            == (f"{latest} was kept: it names run other" in result.stdout)
            == (not moves)
        )


def test_latest_never_moves_to_a_run_without_images(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    latest = tmp_path / "latest.json"
    result = boxcar("run", tmp_path / "photos", tmp_path / "run", "--model", artifact, "--latest", latest)
    assert f"{latest} was kept: this run has no images" in result.stdout
    assert not latest.exists()


def test_latest_that_cannot_be_written_costs_no_work(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos, output = write_photos(tmp_path / "photos", 1), tmp_path / "run"
    (tmp_path / "link").symlink_to(photos)
    (tmp_path / "package.json").write_text('{"name": "precious"}')
    for latest, reason in {
        photos / "latest.json": "lies inside INPUT",
        photos / "sub/latest.json": "lies inside INPUT",
        tmp_path / "link/latest.json": "lies inside INPUT",
        output / "latest.json": "lies inside OUTPUT",
        output / "boxes/../manifest.json": "lies inside OUTPUT",
        tmp_path / "package.json": "not a latest.json",
        "s3://latest.json": "names no object",
    }.items():
        assert reason in boxcar("run", photos, output, "--model", artifact, "--latest", latest, code=2).stderr
        assert not output.exists()
    boxcar("plan", photos, output, "--model", artifact)
    for latest in (photos / "latest.json", output / "latest.json"):
        assert "lies inside" in boxcar("finish", output, "--latest", latest, code=2).stderr
    arguments = ("--model", artifact, "--latest", "s3://b/in/latest.json")
    assert "lies inside INPUT" in boxcar("run", "s3://b/in", tmp_path / "other", *arguments, code=2).stderr


def test_status_of_a_run_in_flight(boxcar: Boxcar, worked: Path) -> None:
    (worked / "stats/part-0000002.json").unlink()
    lines = dict(line.split(maxsplit=1) for line in boxcar("status", worked).stdout.splitlines())
    assert (lines["parts"], lines["images"], lines["published"]) == ("2 of 3", "4 of 5", "no")
    boxcar("work", worked)
    boxcar("finish", worked)
    lines = dict(line.split(maxsplit=1) for line in boxcar("status", worked).stdout.splitlines())
    assert lines["parts"] == "3 of 3" and lines["published"].startswith("valid, ")


def _verdicts(output: Path) -> tuple[str, str, str]:
    """What the manifest, the verdict's file and the report say of one run."""
    manifest = Manifest.model_validate_json((output / "manifest.json").read_bytes())
    validation = (output / "quality/validation.json").read_bytes()
    assert sha256(validation) == manifest.validation_sha256
    report = (output / "report.html").read_text()
    shown = "rejected" if ">rejected</" in report[: report.index("Rules</h2>")] else "valid"
    return manifest.status, json.loads(validation)["status"], shown


@pytest.fixture
def disputed(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> Path:
    """A run that its policy decides: one image of four failed."""
    photos = write_photos(tmp_path / "photos", 3)
    (photos / "broken.png").write_bytes(b"")
    boxcar("plan", photos, tmp_path / "run", "--model", artifact, "--part-size", 2)
    boxcar("work", tmp_path / "run")
    return tmp_path / "run"


def _meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let `act` happen once, between the moment when a command has judged a run and that when it publishes."""
    original = Review.verdict
    waiting = [act]

    def verdict(self: Review) -> Validation:
        found = original(self)
        while waiting:
            waiting.pop()()
        return found

    monkeypatch.setattr(Review, "verdict", verdict)


def test_the_loser_of_two_finishers_leaves_the_winners_verdict_and_report(
    boxcar: Boxcar, disputed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _meanwhile(monkeypatch, lambda: boxcar("finish", disputed, "--max-failed", 0.5))
    assert "published as valid with --max-failed 0.5" in boxcar("finish", disputed, code=2).stderr
    assert _verdicts(disputed) == ("valid", "valid", "valid")


def test_validate_beside_a_finisher_keeps_to_what_was_published(
    boxcar: Boxcar, disputed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _meanwhile(monkeypatch, lambda: boxcar("finish", disputed, "--max-failed", 0.5))
    assert "verdict: valid" in boxcar("validate", disputed).stdout
    assert _verdicts(disputed) == ("valid", "valid", "valid")


def test_a_verdict_that_is_not_the_published_one_is_put_right(boxcar: Boxcar, artifact: Path, disputed: Path) -> None:
    """As a kill leaves it, between the verdict's file and the manifest."""
    boxcar("finish", disputed, "--max-failed", 0.5)
    path = disputed / "quality/validation.json"
    path.write_bytes(path.read_bytes().replace(b'"valid"', b'"rejected"'))
    assert "not the verdict that was published" in boxcar("report", disputed, code=2).stderr
    for again in (
        ("finish", disputed),
        ("run", disputed.parent / "photos", disputed, "--model", artifact, "--part-size", 2),
    ):
        path.write_bytes(b"{}")
        (disputed / "report.html").write_text("of another verdict")
        boxcar(*again, "--max-failed", 0.5)
        assert _verdicts(disputed) == ("valid", "valid", "valid")


def test_a_lost_profile_of_a_published_run_is_written_again(boxcar: Boxcar, worked: Path) -> None:
    boxcar("finish", worked)
    profile = worked / "quality/profile.json"
    stored = profile.read_bytes()
    profile.unlink()
    boxcar("finish", worked)
    assert profile.read_bytes() == stored


def test_a_valid_run_is_never_published_again_with_other_parts(boxcar: Boxcar, worked: Path) -> None:
    """latest.json may name it: neither the manifest nor what explains it may change."""
    latest = worked.parent / "latest.json"
    boxcar("finish", worked, "--latest", latest)
    files = {path: path.read_bytes() for path in (worked / "manifest.json", worked / "quality/validation.json", latest)}

    def exaggerate(records: list[dict[str, Any]]) -> None:
        records[0]["boxes"][0]["score"] = 1.5

    _edit(worked, exaggerate, sign=True)
    for command in (("finish", worked, "--latest", latest), ("validate", worked)):
        result = boxcar(*command, code=2)
        assert "published" in result.stderr and "choose a new OUTPUT" in result.stderr
    assert {path: path.read_bytes() for path in files} == files


def test_records_of_other_bytes_than_were_planned_are_made_again(boxcar: Boxcar, worked: Path) -> None:
    def enlarge(records: list[dict[str, Any]]) -> None:
        records[1]["bytes"] += 1

    _edit(worked, enlarge, sign=True)
    assert "holds records of other versions than were planned" in boxcar("finish", worked, code=4).stderr
    boxcar("work", worked)
    boxcar("finish", worked)


@pytest.mark.parametrize("option", ["--max-failed", "--min-score"])
def test_nan_is_no_share(boxcar: Boxcar, artifact: Path, tmp_path: Path, option: str) -> None:
    photos = write_photos(tmp_path / "photos", 1)
    result = boxcar("run", photos, tmp_path / "run", "--model", artifact, option, "nan", code=2)
    assert "is not a number from 0 to 1" in result.stderr and not (tmp_path / "run").exists()


def test_a_strict_rule_that_cannot_be_judged_is_said(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    result = boxcar("run", photos, tmp_path / "run", "--model", artifact, "--strict", "label_drift")
    assert "warning: label_drift" in result.stderr
    assert json.loads((tmp_path / "run/manifest.json").read_bytes())["warnings"] == ["label_drift"]


def test_what_is_published_between_two_looks_stays(
    boxcar: Boxcar, disputed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first look for a manifest, and before the one that the swap is conditional on."""
    original = FolderStore.read_version
    waiting = [lambda: boxcar("finish", disputed, "--max-failed", 0.5)]

    def read_version(self: FolderStore, key: str) -> object:
        if key == "manifest.json" and waiting:
            waiting.pop()()
        return original(self, key)

    monkeypatch.setattr(FolderStore, "read_version", read_version)
    assert "published as valid with --max-failed 0.5" in boxcar("finish", disputed, code=2).stderr
    assert _verdicts(disputed) == ("valid", "valid", "valid")


def test_a_late_worker_leaves_a_part_that_another_has_made(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another type of processor its bytes would differ, and the part may be published by then."""
    output = tmp_path / "run"
    boxcar("plan", write_photos(tmp_path / "photos", 3), output, "--model", artifact)
    original = Worker._put
    others: dict[Path, bytes] = {}

    def put(self: Worker, *arguments: Any) -> object:
        if not others:  # the other one: the same records, with scores as another processor computes them
            others[output] = b""
            boxcar("run", tmp_path / "photos", output, "--model", artifact)
            _edit(output, lambda records: records[0]["boxes"][0].update(score=0.9999), sign=True)
            others[output] = (output / "boxes/part-0000000.jsonl").read_bytes()
        return original(self, *arguments)

    monkeypatch.setattr(Worker, "_put", put)
    boxcar("work", output)
    assert (output / "boxes/part-0000000.jsonl").read_bytes() == others[output]


def test_a_run_is_published_without_its_network_and_not_with_another_description(boxcar: Boxcar, worked: Path) -> None:
    """The description says all that is needed to judge and show a run; a network of 100 MB is not read for it."""
    (worked / "model/model.onnx").unlink()
    boxcar("finish", worked)
    boxcar("report", worked)
    card = worked / "model/model.json"
    card.write_bytes(card.read_bytes() + b" ")
    for command in ("validate", "report"):
        assert "but the plan pins" in boxcar(command, worked, code=6).stderr
    card.unlink()
    assert "model/model.json: missing" in boxcar("validate", worked, code=6).stderr
