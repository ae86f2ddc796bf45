"""What is planned, in which order, and which plans are refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detector.artifact import SHIPPED
from jobs.manifest import Plan, PlannedImage, decode_lines, sha256
from jobs.plan import plan_digest
from jobs.storage import Entry, FolderStore
from tests.conftest import Bucket
from tests.jobs.helpers import Boxcar, encoded, part_bytes, write_photos


def _plan(output: Path) -> Plan:
    return Plan.model_validate_json((output / "plan.json").read_bytes())


def _planned(output: Path) -> list[PlannedImage]:
    parts = sorted((output / "plan").glob("*.jsonl"))
    return [image for part in parts for image in decode_lines(PlannedImage, part.read_bytes())]


def test_more_than_a_thousand_keys(boxcar: Boxcar, bucket: Bucket, artifact: Path, tmp_path: Path) -> None:
    """A listing has pages of 1,000 keys."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(1005):
        (photos / f"{index}.png").write_bytes(b"%d" % index)
    bucket.upload(photos, "photos")
    boxcar("plan", f"{bucket.uri}/photos", tmp_path / "run", "--model", artifact)
    assert [image.key for image in _planned(tmp_path / "run")] == sorted(f"{index}.png" for index in range(1005))
    assert [part.count for part in _plan(tmp_path / "run").parts] == [500, 500, 5]


def test_what_is_an_image(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "sub.dir").mkdir(parents=True)
    (photos / ".git").mkdir()
    wanted = ["a.jpg", "b.JPEG", "c.Png", "d.webp", "e.bmp", "f.gif", "g.tif", "sub.dir/h.TIFF"]
    others = ["a.txt", "b.jpg.bak", "jpg", "sub.dir/movie.mp4"]
    for name in [*wanted, *others, ".hidden.jpg", ".git/x.jpg"]:
        (photos / name).write_bytes(b"x")
    (photos / "link.jpg").symlink_to(photos / "a.jpg")
    (photos / "nowhere.jpg").symlink_to(photos / "gone.jpg")
    (photos / "ring").symlink_to(photos)
    os.mkfifo(photos / "pipe.jpg")
    boxcar("plan", photos, tmp_path / "run", "--model", artifact)
    assert [image.key for image in _planned(tmp_path / "run")] == sorted([*wanted, "link.jpg", "nowhere.jpg"])
    assert _plan(tmp_path / "run").other_files == len(others)


def test_the_digest_names_the_content(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    """Two plans of the same things are the same run; another option makes another run."""
    photos = write_photos(tmp_path / "photos", 3)
    for name, options in {"one": (), "two": (), "three": ("--part-size", 2), "four": ("--min-score", 0.5)}.items():
        boxcar("plan", photos, tmp_path / name, "--model", artifact, *options)
    one, two, three, four = (_plan(tmp_path / name) for name in ("one", "two", "three", "four"))
    assert one.digest == two.digest and one.run == one.digest[:8]
    assert len({one.digest, three.digest, four.digest}) == 3
    assert [part.sha256 for part in one.parts] == [sha256((tmp_path / "one/plan/part-0000000.jsonl").read_bytes())]


def test_reused(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    """The listing was frozen: what came later belongs to another run."""
    photos = write_photos(tmp_path / "photos", 3)
    boxcar("plan", photos, tmp_path / "run", "--model", artifact)
    before = (tmp_path / "run/plan.json").read_bytes()
    (photos / "later.png").write_bytes(encoded(9))
    boxcar("plan", photos, tmp_path / "run", "--model", artifact)
    assert (tmp_path / "run/plan.json").read_bytes() == before


@pytest.mark.parametrize("difference", ["INPUT", "artifact", "--min-score", "--part-size"])
def test_another_plan_is_refused(
    boxcar: Boxcar, artifact: Path, make_artifact: Callable[..., Path], tmp_path: Path, difference: str
) -> None:
    photos, output = write_photos(tmp_path / "photos", 3), tmp_path / "run"
    boxcar("run", photos, output, "--model", artifact)
    before = part_bytes(output)
    source, options = photos, {"--model": artifact, "--min-score": 0.3, "--part-size": 500}
    match difference:
        case "INPUT":
            source = write_photos(tmp_path / "others", 1)
        case "artifact":
            options["--model"] = make_artifact(tmp_path / "model", bias=0.1, proposals=False)
        case "--min-score":
            options["--min-score"] = 0.25
        case "--part-size":
            options["--part-size"] = 2
    arguments = [value for pair in options.items() for value in pair]
    result = boxcar("run", source, output, *arguments, code=2)
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {output}/ holds another plan: {difference} is ")
    assert line.count(" there, ") == 1  # this difference and no other
    assert part_bytes(output) == before


@pytest.mark.parametrize("inside", ["", "boxes", "a/b"])
def test_output_inside_input(boxcar: Boxcar, artifact: Path, tmp_path: Path, inside: str) -> None:
    photos = write_photos(tmp_path / "photos", 1)
    (tmp_path / "link").symlink_to(photos)
    for output in (photos / inside, tmp_path / "link" / inside):
        assert "lies inside INPUT" in boxcar("run", photos, output, "--model", artifact, code=2).stderr
    assert "lies inside" in boxcar("run", "s3://b/in", f"s3://b/in/{inside}", "--model", artifact, code=2).stderr
    assert sorted(path.name for path in photos.iterdir()) == ["sub"]


def test_output_beside_input(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    """A name that begins alike is not inside."""
    boxcar("plan", write_photos(tmp_path / "photos", 1), tmp_path / "photos-run", "--model", artifact)


def test_a_changed_plan_is_refused(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    boxcar("plan", write_photos(tmp_path / "photos", 3), output, "--model", artifact)
    part = output / "plan/part-0000000.jsonl"
    part.write_bytes(part.read_bytes().splitlines(keepends=True)[0])
    assert "changed since it was planned" in boxcar("work", output, code=2).stderr
    (output / "plan.json").write_text(json.dumps({"schema": 2}))
    assert "schema 2 is not read here" in boxcar("work", output, code=2).stderr
    (output / "plan.json").unlink()
    assert "no plan here" in boxcar("work", output, code=2).stderr


@pytest.mark.parametrize(
    "change",
    [
        {"min_score": 0.9},
        {"part_size": 4},
        {"input": "/elsewhere/"},
        {"artifact_sha256": "0" * 64},
        {"parts": []},
        {"digest": "0" * 64},
        {"run": "00000000"},
    ],
)
def test_an_edited_plan_is_refused(boxcar: Boxcar, artifact: Path, tmp_path: Path, change: dict[str, object]) -> None:
    """The digest is that of the content, whoever reads the plan."""
    photos, output = write_photos(tmp_path / "photos", 3), tmp_path / "run"
    boxcar("plan", photos, output, "--model", artifact)
    path = output / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=8))  # the same content
    boxcar("work", output)
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    for command in (("work", output), ("finish", output), ("plan", photos, output, "--model", artifact)):
        assert "plan.json: changed since it was planned" in boxcar(*command, code=2).stderr


@pytest.mark.parametrize("part_size", [1, 500])
def test_a_key_that_is_listed_twice(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_size: int
) -> None:
    """Each image gets one record, so that a server's mistake must not plan one twice."""
    listed = FolderStore.list

    def twice(self: FolderStore) -> Iterator[Entry]:
        entries = sorted(listed(self), key=lambda entry: entry.key)
        return iter([*entries, entries[1]])

    monkeypatch.setattr(FolderStore, "list", twice)
    photos, output = write_photos(tmp_path / "photos", 3), tmp_path / "run"
    result = boxcar("plan", photos, output, "--model", artifact, "--part-size", part_size, code=5)
    assert f"{photos}/0002.png: listed twice" in result.stderr
    assert not output.exists()


def _repeat(plan: dict[str, Any], folder: Path) -> None:
    (folder / "part-0000001.jsonl").write_bytes((folder / "part-0000000.jsonl").read_bytes())
    plan["parts"][1]["sha256"] = plan["parts"][0]["sha256"]


def _swap(plan: dict[str, Any], folder: Path) -> None:
    path = folder / "part-0000000.jsonl"
    path.write_bytes(b"".join(reversed(path.read_bytes().splitlines(keepends=True))))
    plan["parts"][0]["sha256"] = sha256(path.read_bytes())


def _drop(plan: dict[str, Any], folder: Path) -> None:
    path = folder / "part-0000000.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    plan["parts"][0]["sha256"] = sha256(path.read_bytes())


def _drop_part(plan: dict[str, Any], _folder: Path) -> None:
    del plan["parts"][2]


def _miscount(plan: dict[str, Any], _folder: Path) -> None:
    plan["images"] += 1


@pytest.mark.parametrize("damage", [_repeat, _swap, _drop, _drop_part, _miscount])
def test_a_damaged_plan_is_not_published(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, damage: Callable[[dict[str, Any], Path], None]
) -> None:
    """Even with digests that fit: `finish` counts the images, and sees that none is planned twice."""
    output = tmp_path / "run"
    boxcar("plan", write_photos(tmp_path / "photos", 5), output, "--model", artifact, "--part-size", 2)
    plan = json.loads((output / "plan.json").read_bytes())
    damage(plan, output / "plan")
    digest = plan_digest(plan)
    (output / "plan.json").write_text(json.dumps(plan | {"digest": digest, "run": digest[:8]}))
    boxcar("work", output)
    assert "the plan is damaged" in boxcar("finish", output, code=2).stderr
    assert not (output / "manifest.json").exists()


def test_a_name_that_is_not_utf8(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    """No record could name it, so that it would be lost: the plan is refused."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / os.fsdecode(b"\xff.png")).write_bytes(encoded(1))
    result = boxcar("plan", tmp_path / "photos", tmp_path / "run", "--model", artifact, code=2)
    assert "not UTF-8" in result.stderr


def test_artifact_that_cannot_be_used(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 1)
    result = boxcar("run", photos, tmp_path / "run", "--model", tmp_path / "none", code=6)
    assert "dvc repro" in result.stderr
    (tmp_path / "empty").mkdir()
    assert "model.json" in boxcar("run", photos, tmp_path / "run", "--model", tmp_path / "empty", code=6).stderr
    assert not (tmp_path / "run").exists()

    boxcar("plan", photos, tmp_path / "run", "--model", artifact)
    (tmp_path / "run/model/model.onnx").write_bytes(b"another network")
    assert "sha256" in boxcar("work", tmp_path / "run", code=6).stderr


def test_the_default_model_is_the_shipped_one(
    boxcar: Boxcar, make_artifact: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the command is run, whatever the pipeline has built there."""
    monkeypatch.chdir(tmp_path)
    make_artifact(tmp_path / "models/detector", proposals=False)
    boxcar("plan", write_photos(tmp_path / "photos", 1), "run")
    for name in ("model.onnx", "model.json"):
        assert (tmp_path / "run/model" / name).read_bytes() == (SHIPPED / name).read_bytes()


def test_an_installation_without_its_artifact_says_what_is_missing(
    boxcar: Boxcar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detector.artifact.SHIPPED", tmp_path / "gone")
    photos = write_photos(tmp_path / "photos", 1)
    assert "gone/model.json is missing" in boxcar("plan", photos, tmp_path / "run", code=6).stderr
    assert not (tmp_path / "run").exists()


def test_a_plan_that_is_reused_says_that_newer_images_are_not_in_it(
    boxcar: Boxcar, artifact: Path, tmp_path: Path
) -> None:
    photos, output = write_photos(tmp_path / "photos", 3), tmp_path / "run"
    assert "new OUTPUT" not in boxcar("plan", photos, output, "--model", artifact).stderr
    plan = json.loads((output / "plan.json").read_bytes())
    (output / "plan.json").write_text(json.dumps(plan | {"planned_at": "2020-01-01T00:00:00+00:00"}))
    again = boxcar("plan", photos, output, "--model", artifact)
    assert "plan of 2020-01-01T00:00:00+00:00 found: 3 images" in again.stderr and "new OUTPUT" in again.stderr
