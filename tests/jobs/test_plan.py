"""What is planned, in which order, and which plans are refused."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from detector.runtime.shipped import SHIPPED
from jobs.errors import StorageError, UsageError
from jobs.formats import Plan, PlannedImage, PlanOptions, decode_lines, sha256
from jobs.model import Model, open_model, run_model
from jobs.plan import EARLIER_EXTENSIONS, make_plan, plan_digest, plan_options, planned_parts
from jobs.storage import Entry, FolderStore, Store
from tests.conftest import Bucket
from tests.jobs.helpers import Boxcar, encoded, part_bytes, write_photos


def _plan(output: Path) -> Plan:
    return Plan.model_validate_json((output / "plan.json").read_bytes())


def _planned(output: Path) -> list[PlannedImage]:
    parts = sorted((output / "plan").glob("*.jsonl"))
    return [image for part in parts for image in decode_lines(PlannedImage, part.read_bytes())]


@pytest.mark.slow
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
    plan = _plan(tmp_path / "run")
    assert (plan.other_files, plan.hidden) == (len(others), 2)


def test_the_digest_names_the_content(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    """Two plans of the same things are the same run; another option makes another run."""
    photos = write_photos(tmp_path / "photos", 3)
    for name, options in {"one": (), "two": (), "three": ("--part-size", 2), "four": ("--min-score", 0.5)}.items():
        boxcar("plan", photos, tmp_path / name, "--model", artifact, *options)
    one, two, three, four = (_plan(tmp_path / name) for name in ("one", "two", "three", "four"))
    assert one.digest == two.digest and one.run == one.digest[:8]
    assert len({one.digest, three.digest, four.digest}) == 3
    (part,) = one.parts
    assert part.sha256 == sha256((tmp_path / f"one/plan/part-0000000-{part.sha256[:8]}.jsonl").read_bytes())


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


FILTERS = [("--include", "sub/*"), ("--exclude", "*1.png"), ("--extensions", "jpg,.PNG")]


@pytest.mark.parametrize(("option", "value"), FILTERS)
def test_filters_belong_to_the_plan(boxcar: Boxcar, artifact: Path, tmp_path: Path, option: str, value: str) -> None:
    photos, output = write_photos(tmp_path / "photos", 5), tmp_path / "run"
    (photos / "photo.webp").write_bytes(encoded(9))
    arguments = ("plan", photos, output, "--model", artifact)
    boxcar(*arguments, option, value)
    plan = _plan(output)
    keys = [image.key for image in _planned(output)]
    match option:
        case "--include":
            assert keys == ["sub/0000.png", "sub/0003.png"]
            assert (plan.filters.include, plan.filtered, plan.other_files) == (["sub/*"], 4, 0)
        case "--exclude":
            assert keys == ["0002.png", "0004.png", "photo.webp", "sub/0000.png", "sub/0003.png"]
            assert (plan.filters.exclude, plan.filtered, plan.other_files) == (["*1.png"], 1, 0)
        case "--extensions":
            assert keys == ["0001.png", "0002.png", "0004.png", "sub/0000.png", "sub/0003.png"]
            assert (plan.filters.extensions, plan.filtered, plan.other_files) == (["jpg", "png"], 0, 1)
    boxcar(*arguments, option, value, option, value)  # twice the same
    (line,) = boxcar(*arguments, code=2).stderr.splitlines()
    shown = "jpg,png" if option == "--extensions" else value
    assert f"holds another plan: {option} is {shown} there, " in line and line.count(" there, ") == 1
    boxcar("plan", photos, tmp_path / "all", "--model", artifact)
    assert _plan(tmp_path / "all").digest != plan.digest


@pytest.mark.parametrize("value", ["", "jpg,", "a.b", "a/b"])
def test_extensions_that_are_none(boxcar: Boxcar, artifact: Path, tmp_path: Path, value: str) -> None:
    arguments = ("plan", write_photos(tmp_path / "photos", 1), tmp_path / "run", "--model", artifact)
    assert "takes what follows the last dot of a name" in boxcar(*arguments, "--extensions", value, code=2).stderr


def _make(
    source: Store, output: Store, model: Model, notice: Callable[[str], object] = print, part_size: int = 2
) -> Plan:
    return make_plan(source, output, model, plan_options(source, model, min_score=0.5, part_size=part_size), notice)


class _Overtaken(FolderStore):
    """While this planner writes its parts, another one makes its plan."""

    def __init__(self, path: str, first: Callable[[], object]) -> None:
        super().__init__(path)
        self._first = first

    def swap(self, key: str, data: bytes, etag: str | None) -> bool:
        self._first()
        return super().swap(key, data, etag)


def test_of_two_planners_at_once_one_plan_stands(artifact: Path, tmp_path: Path) -> None:
    """The one that comes second takes over the other's plan, whatever came into the bucket in between."""
    photos, output = write_photos(tmp_path / "photos", 5), tmp_path / "run"
    source, model = FolderStore(str(photos)), open_model(artifact)
    made: list[Plan] = []
    notices: list[str] = []

    def first() -> None:
        made.append(_make(source, FolderStore(str(output)), model, notices.append))

    same = _make(source, _Overtaken(str(output), first), model, notices.append)
    assert same == made[0] and not notices

    def first_with_more() -> None:
        (photos / "0000-later.png").write_bytes(encoded(99))
        first()

    output = tmp_path / "other"
    other = _make(source, _Overtaken(str(output), first_with_more), model, notices.append)
    assert other == made[1] and other.images == 6 and "another planner was first" in notices[0]
    assert [len(images) for _, images in planned_parts(FolderStore(str(output)), other)] == [2, 2, 2]


def test_of_two_planners_with_other_artifacts_one_model_stands(
    artifact: Path, make_artifact: Callable[..., Path], tmp_path: Path
) -> None:
    source, output = FolderStore(str(write_photos(tmp_path / "photos", 3))), tmp_path / "run"
    others = open_model(make_artifact(tmp_path / "model", bias=0.1, proposals=False))

    def first() -> None:
        _make(source, FolderStore(str(output)), others)

    with pytest.raises(UsageError, match="holds another plan: artifact is"):
        _make(source, _Overtaken(str(output), first), open_model(artifact))
    with run_model(FolderStore(str(output)), _plan(output)) as model:
        assert model.sha256 == others.sha256


class _Killed(FolderStore):
    """Goes away before it writes a key that begins so."""

    def __init__(self, path: str, key: str) -> None:
        super().__init__(path)
        self._key = key

    def write(self, key: str, data: bytes) -> None:
        if key.startswith(self._key):
            raise KeyboardInterrupt
        super().write(key, data)

    def swap(self, key: str, data: bytes, etag: str | None) -> bool:
        if key.startswith(self._key):
            raise KeyboardInterrupt
        return super().swap(key, data, etag)


@pytest.mark.parametrize("key", ["plan/part-0000001", "plan.json", "model/model.onnx", "model/model.json"])
def test_a_planner_that_is_killed(boxcar: Boxcar, artifact: Path, tmp_path: Path, key: str) -> None:
    """Planning again repairs what is missing, also with other photographs when no plan was there yet."""
    photos, output = write_photos(tmp_path / "photos", 5), tmp_path / "run"
    source, model = FolderStore(str(photos)), open_model(artifact)
    with pytest.raises(KeyboardInterrupt):
        _make(source, _Killed(str(output), key), model)
    (photos / "0000-new.png").write_bytes(encoded(99))
    plan = _make(source, FolderStore(str(output)), model)
    assert plan.images == (5 if key.startswith("model") else 6)
    boxcar("work", output)
    assert "published" not in boxcar("finish", output).stderr
    assert json.loads((output / "manifest.json").read_bytes())["images"] == plan.images


def test_a_part_that_cannot_be_written_ends_the_plan(artifact: Path, tmp_path: Path) -> None:
    """Whichever it is: the writes are in flight side by side."""

    class Full(FolderStore):
        def write(self, key: str, data: bytes) -> None:
            if "0000003" in key:
                raise StorageError("no space")
            super().write(key, data)

    source, output = FolderStore(str(write_photos(tmp_path / "photos", 60))), tmp_path / "run"
    with pytest.raises(StorageError, match="no space"):
        _make(source, Full(str(output)), open_model(artifact), part_size=1)
    assert not (output / "plan.json").exists()
    assert len(list((output / "plan").iterdir())) < 60  # and the rest is left


def test_an_error_while_listing_leaves_no_thread(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would keep the command from ending."""
    photos, output = write_photos(tmp_path / "photos", 1), FolderStore(str(tmp_path / "run"))
    go_on = threading.Event()

    def listed(_self: FolderStore, **_options: bool) -> Iterator[Entry]:
        with ThreadPoolExecutor(1, "listing") as pool:
            try:
                pool.submit(go_on.wait)
                for index in range(10):
                    yield Entry(f"{index}.png", 1, "e")
            finally:
                go_on.set()

    class Full(sqlite3.Connection):
        def executemany(self, _sql: str, rows: Iterator[object], /) -> sqlite3.Cursor:
            next(rows)
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(FolderStore, "list", listed)
    monkeypatch.setattr("sqlite3.connect", Full)
    with pytest.raises(StorageError, match="database or disk is full") as caught:
        _make(FolderStore(str(photos)), output, open_model(artifact))
    assert caught.tb and go_on.is_set()


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_dry_run_writes_nothing(boxcar: Boxcar, artifact: Path, tmp_path: Path, command: str) -> None:
    photos, output = write_photos(tmp_path / "photos", 5), tmp_path / "run"
    (photos / "notes.txt").write_text("no image")
    size = sum(path.stat().st_size for path in photos.rglob("[0-9]*.png"))
    arguments = (photos, output, "--model", artifact, "--part-size", 2, "--exclude", "*4.png")
    left_out = (photos / "0004.png").stat().st_size
    shown = boxcar(command, *arguments, "--dry-run").stdout
    for line in (
        "plan       none yet",
        "images     4 in 2 parts",
        f"download   {size - left_out:,} bytes of 4 images",
        "unchanged  0",
        "left out   2 (1 by their extension, 1 by --include, --exclude or --limit)",
    ):
        assert line in shown
    assert not output.exists()

    boxcar("run", *arguments)
    run = _plan(output).run
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    (output / "stats/part-0000001.json").rename(tmp_path / "stats")
    shown = boxcar(command, *arguments, "--dry-run").stdout
    assert f"plan       run {run} of " in shown and ", 1 of its parts in place" in shown
    assert f"download   {size - left_out:,} bytes of 4 images" in shown
    (tmp_path / "stats").rename(output / "stats/part-0000001.json")
    next_arguments = (photos, tmp_path / "next", "--model", artifact, "--since", output)
    (photos / "0004.png").write_bytes(b"12345")
    shown = boxcar(command, *next_arguments, "--dry-run").stdout
    assert "download   5 bytes of 1 images" in shown
    assert f"unchanged  4 ({size - left_out:,} bytes; their records may be copied from {output}/)" in shown
    assert not (tmp_path / "next").exists()
    assert "--exclude is *4.png there, none here" in boxcar(command, *arguments[:-2], "--dry-run", code=2).stderr
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()} == {
        path: time for path, time in before.items() if path.is_file()
    }


def test_a_long_listing_goes_over_the_disk(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same plan, whether it was sorted in memory or in pieces."""
    photos = write_photos(tmp_path / "photos", 40)
    boxcar("plan", photos, tmp_path / "memory", "--model", artifact, "--part-size", 3)
    monkeypatch.setattr("jobs.listing.CACHE_KIB", 1)
    boxcar("plan", photos, tmp_path / "disk", "--model", artifact, "--part-size", 3)
    assert _plan(tmp_path / "disk").digest == _plan(tmp_path / "memory").digest


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
    (part,) = (output / "plan").iterdir()
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

    def twice(self: FolderStore, **_options: bool) -> Iterator[Entry]:
        entries = sorted(listed(self), key=lambda entry: entry.key)
        return iter([*entries, entries[1]])

    monkeypatch.setattr(FolderStore, "list", twice)
    photos, output = write_photos(tmp_path / "photos", 3), tmp_path / "run"
    result = boxcar("plan", photos, output, "--model", artifact, "--part-size", part_size, code=5)
    assert f"{photos}/0002.png: listed twice" in result.stderr
    assert not (output / "plan.json").exists() and not (output / "model").exists()


def _rewrite(plan: dict[str, Any], folder: Path, part: int, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Another part of the plan, under the name and with the digest of its bytes."""
    (path,) = folder.glob(f"part-{part:07d}-*.jsonl")
    data = b"".join(change(path.read_bytes().splitlines(keepends=True)))
    (folder / f"part-{part:07d}-{sha256(data)[:8]}.jsonl").write_bytes(data)
    plan["parts"][part]["sha256"] = sha256(data)


def _repeat(plan: dict[str, Any], folder: Path) -> None:
    (first,) = folder.glob("part-0000000-*.jsonl")
    _rewrite(plan, folder, 1, lambda _lines: [first.read_bytes()])


def _swap(plan: dict[str, Any], folder: Path) -> None:
    _rewrite(plan, folder, 0, lambda lines: lines[::-1])


def _drop(plan: dict[str, Any], folder: Path) -> None:
    _rewrite(plan, folder, 0, lambda lines: lines[:1])


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
    monkeypatch.setattr("jobs.model_source.SHIPPED", tmp_path / "gone")
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


def test_every_option_of_a_plan_is_digested_and_compared(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    """Whichever field differs, the digest is another one, and the option is named."""
    boxcar("plan", write_photos(tmp_path / "photos", 2), tmp_path / "run", "--model", artifact)
    plan, written = _plan(tmp_path / "run"), json.loads((tmp_path / "run/plan.json").read_bytes())
    others: dict[str, tuple[str, Any]] = {
        "input": ("INPUT", "/elsewhere/"),
        "inventory": ("--inventory", "s3://b/manifest.json"),
        "filters": ("--include", written["filters"] | {"include": ["a*"]}),
        "artifact_sha256": ("artifact", "0" * 64),
        "min_score": ("--min-score", 0.9),
        "tile": ("--tile", 640),
        "overlap": ("--overlap", 0.3),
        "part_size": ("--part-size", 7),
        "since": ("--since", {"given": "/before/"}),
        "redo": ("--redo", ["ok"]),
        "limit": ("--limit", 5),
    }
    assert {*others, "model", "request_payer", "no_sign_request"} == set(PlanOptions.model_fields)
    for field, (name, value) in others.items():
        assert plan_digest(written | {field: value}) != plan.digest
        asked = Plan.model_validate(written | {field: value}).asked()
        assert [key for key in asked if asked[key] != plan.asked().get(key)] == [name]


def test_a_plan_without_a_newer_option_keeps_its_digest(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    """As an older boxcar wrote it, before the option was there."""
    photos, output = write_photos(tmp_path / "photos", 2), tmp_path / "run"
    boxcar("plan", photos, output, "--model", artifact)
    newer = {"redo", "hidden", "limit", "request_payer", "no_sign_request", "records_version", "tile", "overlap"}
    written = json.loads((output / "plan.json").read_bytes())
    older = {name: value for name, value in written.items() if name not in newer}
    older["filters"] = {"include": [], "exclude": [], "extensions": EARLIER_EXTENSIONS[0]}
    digest = plan_digest(older)
    (output / "plan.json").write_text(json.dumps(older | {"digest": digest, "run": digest[:8]}))
    assert f"run        {digest[:8]}" in boxcar("status", output).stdout
    boxcar("plan", photos, output, "--model", artifact)  # the same plan, asked for with the newer option's default
