"""`boxcar doctor` and `boxcar show`: what a person looks at before and after a run."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from PIL import Image

from jobs.storage import S3Store
from tests.jobs.helpers import Boxcar, encoded, records_of, write_photos


def _verdicts(stdout: str) -> dict[str, str]:
    return {line[6:23].strip(): line[:4].strip() for line in stdout.splitlines()}


def test_the_doctor_finds_a_folder_well(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    said = boxcar("doctor", photos, tmp_path / "run", "--model", artifact).stdout
    verdicts = _verdicts(said)
    assert {name for name, verdict in verdicts.items() if verdict == "skip"} == {"checksums", "clock"}
    assert set(verdicts.values()) == {"ok", "skip"}
    assert list((tmp_path / "run").iterdir()) == []
    assert re.search(r"^ok    read +.*\.png: [\d,]+ bytes, \d+ x \d+ pixels", said, re.MULTILINE)
    inside = boxcar("doctor", photos, photos / "run", "--model", artifact, code=5).stdout
    assert _verdicts(inside)["write"] == "fail" and "lies inside INPUT" in inside and not (photos / "run").exists()


def test_the_doctor_names_every_trouble(boxcar: Boxcar, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = boxcar("doctor", tmp_path / "none", tmp_path / "file/run", "--model", tmp_path / "no-model", code=5)
    verdicts = _verdicts(result.stdout)
    assert {name for name, verdict in verdicts.items() if verdict == "fail"} == {"list", "write", "artifact"}
    assert result.stderr.startswith("error: list, write, artifact: ")
    assert "no such folder" in result.stdout and "cannot be written" in result.stdout
    (tmp_path / "empty").mkdir()
    said = boxcar("doctor", tmp_path / "empty", tmp_path / "run").stdout
    assert _verdicts(said)["list"] == "note" and "--extensions" in said


@pytest.mark.slow
def test_the_doctor_in_a_bucket(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket="photos")
    client.put_object(Bucket="photos", Key="in/a.png", Body=encoded(1))
    said = boxcar("doctor", "s3://photos/in", "s3://photos/out", "--model", artifact).stdout
    assert set(_verdicts(said).values()) == {"ok"}, said
    assert f"at {moto}, with the key ...ocal from env" in said
    assert [found["Key"] for found in client.list_objects_v2(Bucket="photos")["Contents"]] == ["in/a.png"]

    def after(self: S3Store, operation: str, **options: Any) -> dict[str, Any]:
        options.pop("IfNoneMatch", None)  # as a server does that does not know it
        return call(self, operation, **options)

    call = S3Store._call
    with monkeypatch.context() as patch:
        patch.setattr(S3Store, "_call", after)
        said = boxcar("doctor", "s3://photos/in", "s3://photos/out", "--model", artifact).stdout
    assert _verdicts(said)["conditional write"] == "note"
    said = boxcar("doctor", "s3://nowhere/in", "s3://photos/out", "--model", artifact, code=5).stdout
    assert {name for name, verdict in _verdicts(said).items() if verdict == "fail"} == {"list"}
    assert "the bucket does not exist" in said
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    said = boxcar("doctor", "s3://photos/in", "s3://photos/out", "--model", artifact, code=5).stdout
    assert _verdicts(said)["artifact"] == "ok" and "AWS settings or credentials cannot be used" in said


def test_one_image_is_shown_and_drawn(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos, output = write_photos(tmp_path / "photos", 9), tmp_path / "run"
    (photos / "0005.png").write_bytes(b"no image")
    boxcar("run", photos, output, "--model", artifact, "--part-size", 2, "--max-failed", 1, "--min-score", 0)
    for record in records_of(output):
        key = record.image.removeprefix(f"{photos}/")
        for name in (key, record.image):
            said = boxcar("show", output, name).stdout
            assert f"image   {record.image}" in said and f"status  {record.status}" in said
            assert said.count("\n") == 6 + (len(record.boxes) + 2 if record.boxes else 0)
    record = next(record for record in records_of(output) if record.boxes)
    best = record.boxes[0]
    said = boxcar("show", output, record.image, "--draw", tmp_path / "drawn.png").stdout
    assert re.search(rf"{best.label} +{best.score:.4f} +{best.x:g} +{best.y:g} +{best.width:g} +{best.height:g}", said)
    drawn = np.asarray(Image.open(tmp_path / "drawn.png"))
    original = np.asarray(Image.open(record.image).convert("RGB"))
    assert drawn.shape == original.shape and (drawn != original).any()


def test_what_cannot_be_shown_is_said(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos, output = write_photos(tmp_path / "photos", 2), tmp_path / "run"
    assert "no published run" in boxcar("show", output, "0001.png", code=2).stderr
    boxcar("run", photos, output, "--model", artifact)
    assert "the name is not UTF-8" in boxcar("show", output, "caf\udce9.png", code=2).stderr
    said = boxcar("show", output, "0001.png", "--draw", photos / "0001.png", code=2).stderr
    assert "lies in INPUT" in said
    for name in ("a.png", "zzz.png", "0001", "/elsewhere/0001.png"):
        assert f"{name}: not an image of run" in boxcar("show", output, name, code=2).stderr
    assert (
        "give a path that ends with"
        in boxcar("show", output, "0001.png", "--draw", tmp_path / "drawn.xyz", code=5).stderr
    )
    (photos / "0001.png").write_bytes(encoded(9))
    said = boxcar("show", output, "0001.png", "--draw", tmp_path / "drawn.png", code=2).stderr
    assert "not the version that was planned; only its record can be shown" in said


# What is planned


HIDDEN = ["._a.jpg", ".thumbnails/b.jpg", "x/.cache/y/c.jpg", "__MACOSX/d.jpg", "x/__MACOSX/e.jpg", "x/.f.jpg"]
PLAIN = ["a.jpg", "x/b.JFIF", "x/y/c.jpe", "x.y/d.jpeg", "not__MACOSX/e.jpg", "a./f.jpg"]
OTHERS = ["3f2a9c", "g.jpg?w=800", "x/readme.txt", "h.heic"]


def _plan_of(boxcar: Boxcar, source: object, output: Path, artifact: Path, *options: object) -> dict[str, Any]:
    boxcar("plan", source, output, "--model", artifact, *options)
    plan: dict[str, Any] = json.loads((output / "plan.json").read_bytes())
    plan["keys"] = [
        json.loads(line)["key"]
        for path in sorted((output / "plan").glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    return plan


@pytest.mark.slow
@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_one_rule_says_which_keys_are_planned(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, moto: str, where: str
) -> None:
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket="photos")
    for key in HIDDEN + PLAIN + OTHERS:
        client.put_object(Bucket="photos", Key=f".in/{key}", Body=b"x")
        (tmp_path / ".in" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".in" / key).write_bytes(b"x")
    source = "s3://photos/.in" if where == "bucket" else tmp_path / ".in"  # INPUT's own name may begin with a dot
    plan = _plan_of(boxcar, source, tmp_path / "a", artifact)
    assert plan["keys"] == sorted(PLAIN)
    assert (plan["other_files"], plan["filtered"]) == (len(OTHERS), 0) and plan["hidden"] >= 5
    plan = _plan_of(boxcar, source, tmp_path / "b", artifact, "--hidden")
    assert plan["keys"] == sorted(HIDDEN + PLAIN) and plan["hidden"] == 0
    plan = _plan_of(boxcar, source, tmp_path / "c", artifact, "--extensions", "*")
    assert plan["keys"] == sorted(PLAIN + OTHERS) and plan["other_files"] == 0
    assert (
        "--hidden is False there, True here"
        in boxcar("plan", source, tmp_path / "c", "--model", artifact, "--extensions", "*", "--hidden", code=2).stderr
    )


def test_what_was_left_out_is_said_everywhere(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos, output = write_photos(tmp_path / "photos", 6), tmp_path / "run"
    for name in ("notes.txt", "3f2a9c", "._0001.png"):
        (photos / name).write_bytes(b"x")
    said = "4 (2 by their extension, 1 by --include, --exclude or --limit, 1 hidden)"
    options = ("--model", artifact, "--exclude", "0001*")
    assert f"left out   {said}" in boxcar("plan", photos, tmp_path / "plan", *options).stdout
    assert f"left out  {said}" in boxcar("run", photos, output, *options).stdout
    manifest = json.loads((output / "manifest.json").read_bytes())
    assert (manifest["other_files"], manifest["filtered"], manifest["hidden"]) == (2, 1, 1)
    assert f"listed but not planned: {said}" in (output / "report.html").read_text()
    result = boxcar("run", photos, tmp_path / "none", "--model", artifact, "--extensions", "webp")
    assert "--extensions '*' plans the 8 other files too" in result.stderr


def test_objects_without_an_extension_are_read(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "3f2a9c").write_bytes(encoded(1))
    (photos / "b.jpg?w=800").write_bytes(encoded(2, format="JPEG"))
    (photos / "notes.txt").write_bytes(b"no image")
    boxcar("run", photos, tmp_path / "run", "--model", artifact, "--extensions", "*", "--max-failed", 1)
    assert [record.status for record in records_of(tmp_path / "run")] == ["ok", "ok", "unreadable"]
    for wrong in ("*,jpg", "jp*g", ""):
        said = boxcar("plan", photos, tmp_path / "x", "--model", artifact, "--extensions", wrong, code=2).stderr
        assert "* alone" in said


def test_a_trial_over_some_images(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    """Always the same ones, from the whole listing, as a run of its own."""
    photos = write_photos(tmp_path / "photos", 40)
    plan = _plan_of(boxcar, photos, tmp_path / "a", artifact, "--limit", 10)
    again = _plan_of(boxcar, photos, tmp_path / "b", artifact, "--limit", 10)
    more = _plan_of(boxcar, photos, tmp_path / "c", artifact, "--limit", 20)
    everything = _plan_of(boxcar, photos, tmp_path / "d", artifact, "--limit", 100)
    assert plan["keys"] == again["keys"] == sorted(plan["keys"])
    assert set(plan["keys"]) < set(more["keys"]) < set(everything["keys"])
    assert (plan["images"], plan["filtered"], plan["limit"]) == (10, 30, 10)
    assert (everything["images"], everything["filtered"]) == (40, 0)
    halves = [sum(key.endswith(tuple(f"{index:02d}.png" for index in range(20))) for key in more["keys"])]
    assert 4 <= halves[0] <= 16  # not the first ones of the listing
    assert "--limit is 10 there, none here" in boxcar("run", photos, tmp_path / "a", "--model", artifact, code=2).stderr
    said = boxcar("run", photos, tmp_path / "e", "--limit", 3, "--latest", tmp_path / "latest.json", code=2).stderr
    assert "a trial with --limit is not the newest run" in said
    said = boxcar("run", photos, tmp_path / "a", "--model", artifact, "--limit", 10).stdout
    assert "left out  30 (30 by --include, --exclude or --limit)" in said


# What cannot be listed


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one that may not be listed, one whose files may not be looked at, and a name of Latin-1."""
    photos = write_photos(tmp_path / "photos", 3)
    for name in ("lost+found", "locked"):
        (photos / name).mkdir()
    (photos / "locked/a.png").write_bytes(b"x")
    with open(os.fsencode(photos) + b"/caf\xe9.png", "wb") as file:
        file.write(b"x")
    with open(os.fsencode(photos) + b"/caf\xe9.txt", "wb") as file:
        file.write(b"x")
    scandir, stat = os.scandir, os.stat

    def scanned(path: Any) -> Any:
        if str(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    def looked(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if "locked/" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "scandir", scanned)  # root, as which tests may run, may look at everything
    monkeypatch.setattr(os, "stat", looked)
    monkeypatch.setattr(os, "lstat", looked)
    return photos


def test_what_cannot_be_listed_ends_the_run_unless_it_is_left_out(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, odd: Path
) -> None:
    left_out: list[str] = []
    for code, named, pattern in (
        (2, "caf\\xe9.png: the name is not UTF-8", "caf*"),
        (5, "locked/a.png: cannot be listed: Permission denied", "locked/*"),
        (5, "lost+found: cannot be listed: Permission denied", "lost+found/*"),
    ):
        command = ("plan", odd, tmp_path / "run", "--model", artifact, *left_out)
        said = boxcar(*command, code=code).stderr
        assert named in said and "--exclude" in said
        left_out += ["--exclude", pattern]
    elsewhere = _plan_of(boxcar, odd, tmp_path / "elsewhere", artifact, "--include", "0*", "--exclude", "caf*")
    assert elsewhere["keys"] == ["0001.png", "0002.png"]
    left_out[-1] = "lost+found"
    plan = _plan_of(boxcar, odd, tmp_path / "run", artifact, *left_out)
    assert len(plan["keys"]) == 3 and (plan["filtered"], plan["other_files"]) == (3, 1)
