"""An INPUT that goes away: its images are not `missing`, and the same command goes on when it is back."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from jobs.storage import Content, FolderStore, S3Store
from tests.jobs.helpers import Boxcar, encoded, part_bytes, records_of, write_photos
from tests.support.faults import disks

IMAGES, PART = 30, 5


@pytest.fixture
def expected(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> dict[str, bytes]:
    """The parts of the run when nothing goes away."""
    photos = write_photos(tmp_path / "photos", IMAGES)
    boxcar("plan", photos, tmp_path / "whole", "--model", artifact, "--part-size", PART)
    boxcar("work", tmp_path / "whole")
    return part_bytes(tmp_path / "whole")


def _after(monkeypatch: pytest.MonkeyPatch, store: type, reads: int, happens: Callable[[], object]) -> None:
    """Let something happen after this number of images was read; all later reads wait until it has happened."""
    fetch, lock, count = store.fetch, threading.Lock(), [0]  # type: ignore[attr-defined]

    def fetched(self: Any, image: Any) -> Content:
        with lock:
            count[0] += 1
            if count[0] == reads + 1:
                happens()
        content: Content = fetch(self, image)
        return content

    monkeypatch.setattr(store, "fetch", fetched)


def _moved_away(photos: Path) -> None:
    photos.rename(photos.with_name("away"))


def _empty_mount_point(photos: Path) -> None:
    _moved_away(photos)
    photos.mkdir()


def _emptied(photos: Path) -> None:
    """The same folder, and nothing of it is there but what was never planned."""
    (photos.parent / "away").mkdir()
    for path in list(photos.iterdir()):
        path.rename(photos.parent / "away" / path.name)
    (photos / "README.txt").write_text("not mounted")


@pytest.mark.parametrize("go", [_moved_away, _empty_mount_point, _emptied])
@pytest.mark.parametrize("reads", [0, 12, IMAGES - 2])
def test_a_folder_that_goes_away(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, bytes],
    go: Callable[[Path], None], reads: int,
) -> None:  # fmt: skip
    photos, output = tmp_path / "photos", tmp_path / "run"
    command = ("run", photos, output, "--model", artifact, "--part-size", PART)
    with monkeypatch.context() as patch:
        _after(patch, FolderStore, reads, lambda: go(photos))
        said = boxcar(*command, code=5).stderr
    assert said.count("error:") == 1 and "mounted" in said
    written = part_bytes(output)
    assert written.items() <= expected.items() and len(written) <= reads // PART
    assert not (output / "manifest.json").exists()
    if not (photos / "README.txt").exists():
        boxcar("work", output, code=5)  # still gone
    else:
        (photos / "README.txt").unlink()
    if photos.exists():
        photos.rmdir()
    (tmp_path / "away").rename(photos)
    boxcar("work", output)
    made = [record.model_dump(exclude={"run"}) for record in records_of(output)]
    assert made == [record.model_dump(exclude={"run"}) for record in records_of(tmp_path / "whole")]


def test_a_folder_that_is_back_before_the_part_is_written(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, bytes]
) -> None:
    photos, output = tmp_path / "photos", tmp_path / "run"
    require_same = FolderStore.require_same

    def back(self: FolderStore) -> None:
        if not photos.exists():
            (tmp_path / "away").rename(photos)
        require_same(self)

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "require_same", back)
        _after(patch, FolderStore, 3, lambda: _moved_away(photos))
        said = boxcar("run", photos, output, "--model", artifact, "--part-size", PART, code=5).stderr
    assert "was missing a moment ago" in said and part_bytes(output) == {}


def test_one_deleted_file_and_a_deleted_subfolder_stay_missing(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    """Whole parts may be missing as long as another planned image is there."""
    photos, output = tmp_path / "photos", tmp_path / "run"
    boxcar("plan", photos, output, "--model", artifact, "--part-size", PART)
    for path in [photos / "0001.png", *(photos / "sub").iterdir()]:
        path.unlink()
    boxcar("work", output)
    statuses = {record.image.removeprefix(f"{photos}/"): record.status for record in records_of(output)}
    gone = {key for key, status in statuses.items() if status == "missing"}
    assert gone == {"0001.png"} | {key for key in statuses if key.startswith("sub/")}


def test_many_missing_images_are_looked_for_once(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, bytes]
) -> None:
    """Whole parts are missing: what was looked for in vain for one part is not looked for again for the next."""
    photos, output = tmp_path / "photos", tmp_path / "run"
    boxcar("plan", photos, output, "--model", artifact, "--part-size", 2)
    keys = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    for key in keys[:-1]:
        (photos / key).unlink()
    asked: list[str] = []
    holds = FolderStore.holds

    def counted(self: FolderStore, key: str) -> bool:
        asked.append(key)
        return holds(self, key)

    monkeypatch.setattr(FolderStore, "holds", counted)
    boxcar("work", output)
    assert sum(record.status == "missing" for record in records_of(output)) == IMAGES - 1
    assert len(asked) <= IMAGES + IMAGES // 2


@pytest.mark.skipif(not disks.can_mount(), reason="no file system may be mounted here")
def test_a_volume_below_the_folder_that_goes_away(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    """The other images are still there."""
    script = f"""
set -e
mount -t tmpfs none {tmp_path}/photos/sub
cp {tmp_path}/copies/* {tmp_path}/photos/sub/
python -m jobs plan {tmp_path}/photos {tmp_path}/run --model {artifact}
python - <<'END'
import subprocess, threading
from jobs.cli import main
from jobs.storage import FolderStore
fetch, count, lock = FolderStore.fetch, [0], threading.Lock()
def fetched(self, image):
    with lock:  # the other threads wait until it is gone
        count[0] += 1
        if count[0] == 1:
            subprocess.run(["umount", "-l", "{tmp_path}/photos/sub"], check=True)
    return fetch(self, image)
FolderStore.fetch = fetched
main(["work", "{tmp_path}/run"])
END
"""
    photos = write_photos(tmp_path / "photos", 9)
    (photos / "sub").rename(tmp_path / "copies")
    (photos / "sub").mkdir()
    ended = subprocess.run(["unshare", "--mount", "bash", "-c", script], capture_output=True, text=True)
    assert ended.returncode == 5 and "or a volume below it is" in ended.stderr, ended.stderr
    assert part_bytes(tmp_path / "run") == {}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["prefix", "bucket"])
def test_a_prefix_or_a_bucket_that_goes_away(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moto: str, what: str
) -> None:
    client = boto3.session.Session().client("s3")
    photos = {f"in/{index:02d}.png": encoded(index) for index in range(12)}

    def fill() -> None:
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket="photos")
        client.put_object(Bucket="photos", Key="in/", Body=b"")  # the folder that a console makes
        client.put_object(Bucket="photos", Key="in/README.txt", Body=b"not planned")
        for key, data in photos.items():
            client.put_object(Bucket="photos", Key=key, Body=data)

    def go() -> None:
        for key in photos:
            client.delete_object(Bucket="photos", Key=key)
        if what == "bucket":
            client.delete_object(Bucket="photos", Key="in/")
            client.delete_object(Bucket="photos", Key="in/README.txt")
            client.delete_bucket(Bucket="photos")

    fill()
    command = ("run", "s3://photos/in", tmp_path / "run", "--model", artifact, "--part-size", 4)
    with monkeypatch.context() as patch:
        _after(patch, S3Store, 6, go)
        said = boxcar(*command, code=5).stderr
    assert ("the bucket does not exist" if what == "bucket" else "no planned image is there any more") in said
    assert all(record.status == "ok" for record in records_of(tmp_path / "run"))
    fill()
    boxcar(*command)
    client.delete_object(Bucket="photos", Key="in/03.png")
    boxcar("run", "s3://photos/in", tmp_path / "again", "--model", artifact)
    assert {record.status for record in records_of(tmp_path / "run")} == {"ok"}


@pytest.mark.slow
def test_one_deleted_object_stays_missing(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket="photos")
    for index in range(4):
        client.put_object(Bucket="photos", Key=f"{index}.png", Body=encoded(index))
    boxcar("plan", "s3://photos", tmp_path / "run", "--model", artifact, "--part-size", 1)
    client.delete_object(Bucket="photos", Key="2.png")
    heads: list[str] = []
    etag = S3Store.holds
    monkeypatch.setattr(S3Store, "holds", lambda self, key: heads.append(key) or etag(self, key))
    boxcar("work", tmp_path / "run")
    assert [record.status for record in records_of(tmp_path / "run")] == ["ok", "ok", "missing", "ok"]
    assert len(heads) == 1


@pytest.mark.parametrize("replace", [os.mkfifo, os.mkdir])
def test_a_planned_file_that_became_something_else(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, replace: Callable[[Path], None]
) -> None:
    """Reading a pipe would wait for ever."""
    photos, output = write_photos(tmp_path / "photos", 3), tmp_path / "run"
    boxcar("plan", photos, output, "--model", artifact)
    (photos / "0002.png").unlink()
    replace(photos / "0002.png")
    boxcar("work", output)
    assert [record.status for record in records_of(output)] == ["ok", "changed", "ok"]
