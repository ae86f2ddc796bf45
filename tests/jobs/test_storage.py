"""Failures of the storage as a whole end the command with exit 5; hiccups do not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import IncompleteReadError, ResponseStreamingError

from jobs.errors import ItemError, StorageError, UsageError
from jobs.storage import Entry, FolderStore, S3Store, open_store, split_uri
from tests.conftest import Bucket
from tests.jobs.helpers import Boxcar, write_photos


def test_missing_bucket(boxcar: Boxcar, bucket: Bucket, artifact: Path, tmp_path: Path) -> None:
    result = boxcar("run", "s3://no-such-bucket/photos", tmp_path / "run", "--model", artifact, code=5)
    assert result.stderr.startswith("error: s3://no-such-bucket/photos/: the bucket does not exist")
    photos = write_photos(tmp_path / "photos", 1)
    assert "does not exist" in boxcar("run", photos, "s3://no-such-bucket/run", "--model", artifact, code=5).stderr


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials(
    boxcar: Boxcar, bucket: Bucket, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Also when they go wrong in mid-run: no image is called forbidden for it."""
    bucket.upload(write_photos(tmp_path / "photos", 2), "photos")
    boxcar("plan", f"{bucket.uri}/photos", tmp_path / "run", "--model", artifact)
    monkeypatch.setenv(variable, "something-else")
    assert "wrong credentials" in boxcar("work", tmp_path / "run", code=5).stderr
    assert not (tmp_path / "run/boxes").exists()
    assert "wrong credentials" in boxcar("status", f"{bucket.uri}/run", code=5).stderr


def test_no_server(boxcar: Boxcar, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    result = boxcar("plan", "s3://photos", tmp_path / "run", "--model", artifact, code=5)
    assert "check the network" in result.stderr and len(result.stderr.splitlines()) == 1


def test_folder_that_is_not_there(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    result = boxcar("plan", tmp_path / "none", tmp_path / "run", "--model", artifact, code=5)
    assert "no such folder" in result.stderr


def test_output_that_cannot_be_written(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    photos = write_photos(tmp_path / "photos", 1)
    result = boxcar("run", photos, tmp_path / "file/run", "--model", artifact, code=5)
    assert "cannot be written" in result.stderr


def test_permissions_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is one record's matter; a folder that may not be listed hides images."""
    store = FolderStore(str(write_photos(tmp_path, 4)))
    entry = next(iter(store.list()))

    def denied(*_arguments: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    with monkeypatch.context() as patch:  # root, as which tests may run, may read everything
        patch.setattr(Path, "open", denied)
        with pytest.raises(ItemError) as caught:
            store.fetch(entry)
    assert caught.value.status == "forbidden"
    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(StorageError, match="cannot be listed"):
        list(store.list())


def test_write_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves the old bytes and no half-written file."""
    store = FolderStore(str(tmp_path))
    store.write("a/b.json", b"old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        store.write("a/b.json", b"new")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.json"]
    assert store.read("a/b.json") == b"old"
    assert store.read("a/none.json") is None


class _Body:
    def __init__(self, outcome: bytes | Exception) -> None:
        self._outcome = outcome

    def read(self) -> bytes:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class _Client:
    """Answers with one outcome after another."""

    def __init__(self, *outcomes: bytes | Exception) -> None:
        self._outcomes = list(outcomes)

    def get_object(self, **_request: object) -> dict[str, Any]:
        return {"Body": _Body(self._outcomes.pop(0)), "ETag": '"e"'}


def test_a_body_that_breaks_off_is_fetched_again() -> None:
    store: Any = S3Store("s3://photos")
    cut = IncompleteReadError(actual_bytes=1, expected_bytes=2)
    reset = ResponseStreamingError(error="connection reset")
    store._client = _Client(cut, reset, b"whole")
    assert store.fetch(Entry("a.jpg", 5, etag="e")).data == b"whole"
    store._client = _Client(cut, cut, cut, b"too late")
    with pytest.raises(StorageError, match=r"s3://photos/a\.jpg"):
        store.fetch(Entry("a.jpg", 5, etag="e"))


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://bucket", "s3://bucket/"),
        ("s3://bucket/", "s3://bucket/"),
        ("s3://bucket/a/b", "s3://bucket/a/b/"),
        ("s3://bucket/a b/", "s3://bucket/a b/"),
        ("/", "/"),
        ("/tmp/../tmp/", f"{os.path.realpath('/tmp')}/"),
    ],
)
def test_uri(uri: str, expected: str) -> None:
    assert open_store(uri).uri == expected


def test_uri_of_one_object() -> None:
    store, key = split_uri("s3://bucket/a/latest.json")
    assert (store.uri, key) == ("s3://bucket/a/", "latest.json")
    store, key = split_uri("s3://bucket/latest.json")
    assert (store.uri, key) == ("s3://bucket/", "latest.json")
    store, key = split_uri("latest.json")
    assert (store.uri, key) == (f"{Path.cwd().as_posix()}/", "latest.json")
    for wrong in ("s3://latest.json", "s3://bucket/", "folder/"):
        with pytest.raises(UsageError):
            split_uri(wrong)
