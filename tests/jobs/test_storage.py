"""Failures of the storage as a whole end the command with exit 5; hiccups do not."""

from __future__ import annotations

import base64
import os
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import SSLError

from jobs.errors import ItemError, StorageError, UsageError
from jobs.storage import Entry, FolderStore, S3Store, Store, open_store, read_ahead, split_uri
from tests.conftest import Bucket
from tests.jobs.helpers import Boxcar, write_photos

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between tries."""
    monkeypatch.setattr("jobs.storage.s3.LONGEST_PAUSE_SECONDS", 0.01)


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
        patch.setattr(os, "open", denied)
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
        return {"Body": _Body(self._outcomes.pop(0)), "ETag": '"e"', "ContentLength": 5}


def test_a_body_that_breaks_off_is_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    store: Any = S3Store("s3://photos")
    cut = IncompleteReadError(actual_bytes=1, expected_bytes=2)
    reset = ResponseStreamingError(error="connection reset")
    store.client = _Client(cut, reset, b"whole")
    assert store.fetch(Entry("a.jpg", 5, etag="e")).data == b"whole"
    store.client = _Client(cut, cut, cut, b"too late")
    with pytest.raises(StorageError, match=r"s3://photos/a\.jpg"):
        store.fetch(Entry("a.jpg", 5, etag="e"))


@pytest.fixture(params=["s3", "folder"])
def swapping(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Stores that know conditional writes."""
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    request.getfixturevalue("moto")
    boto3.session.Session().client("s3").create_bucket(Bucket="boxes")
    return open_store("s3://boxes/run")


def test_swap_writes_over_the_version_that_was_seen(swapping: Store) -> None:
    store = swapping
    assert store.swap("a/latest.json", b"one", None)
    assert not store.swap("a/latest.json", b"another", None)
    seen = store.read_version("a/latest.json")
    assert seen is not None and seen.data == b"one"
    assert store.swap("a/latest.json", b"two", seen.etag)
    assert not store.swap("a/latest.json", b"three", seen.etag)
    assert not store.swap("a/gone.json", b"three", seen.etag)
    assert store.read("a/latest.json") == b"two" and store.read("a/gone.json") is None


def test_of_many_swaps_at_once_one_wins(swapping: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda index: swapping.swap("plan.json", b"%d" % index, None), range(8)))
    assert sum(won) == 1
    assert swapping.read("plan.json") == b"%d" % won.index(True)


def test_a_server_without_conditional_writes_is_written_to(bucket: Bucket) -> None:
    store: Any = S3Store(bucket.uri)

    def refuse(params: dict[str, Any], **_others: object) -> None:
        if "If-None-Match" in params["headers"]:
            raise _refusal("NotImplemented")

    store.client.meta.events.register("before-call.s3.PutObject", refuse)
    assert store.swap("plan.json", b"{}", None)
    assert store.read("plan.json") == b"{}"


def test_read_ahead_keeps_the_order(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path))
    for index in range(0, 100, 2):
        store.write(f"{index}", b"%d" % index)
    found = list(read_ahead(store, (f"{index}" for index in range(100))))
    assert found == [None if index % 2 else b"%d" % index for index in range(100)]


@pytest.mark.parametrize("lost", ["ETag", "ContentLength"])
def test_an_answer_whose_headers_were_cut_is_asked_for_again(lost: str) -> None:
    """Without its length a body that was cut would look like a whole one: an empty image, a damaged part."""
    store: Any = S3Store("s3://photos")
    store.client = _Client(b"", b"whole")
    whole, answers = store.client.get_object, []

    def get_object(**request: object) -> dict[str, Any]:
        answer = whole(**request)
        if not answers:
            del answer[lost]
        answers.append(answer)
        return answer

    store.client.get_object = get_object
    assert store.fetch(Entry("a.jpg", 5, etag="e")).data == b"whole"
    assert len(answers) == 2


def test_a_refusal_without_a_word_is_asked_again() -> None:
    """404 and nothing else: the key, the bucket, or an answer that was cut."""
    store: Any = S3Store("s3://photos")
    store.client = _Client(_refusal("404"), _refusal("404"), _refusal("NoSuchKey"))
    assert store.read("plan.json") is None
    store.client = _Client(*[_refusal("404")] * 5)
    with pytest.raises(StorageError, match="404"):
        store.read("plan.json")


class _WebServer(BaseHTTPRequestHandler):
    """Says 200 and shows a page, whatever it is asked: a proxy's login, a console at the wrong port."""

    page = b""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(self.page)))
        self.end_headers()
        self.wfile.write(self.page)

    do_PUT = do_GET

    def log_message(self, *_arguments: object) -> None:
        """Nothing on the terminal."""


def _calls(store: Store) -> list[Callable[[], object]]:
    return [
        lambda: list(store.list()),
        lambda: store.fetch(Entry("a.jpg", 5, etag="e")),
        lambda: store.read("plan.json"),
        lambda: store.write("plan.json", b"{}"),
    ]


@pytest.mark.parametrize("page", [b"<!doctype html><p>Sign in<br>", b"<html><p>Sign in</p></html>", b""])
def test_not_an_s3_server(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: bytes
) -> None:
    """One line that says so; in particular no empty listing, and nothing that counts as written."""
    monkeypatch.setattr(_WebServer, "page", page)
    with ThreadingHTTPServer(("127.0.0.1", 0), _WebServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        for call in _calls(open_store("s3://photos")):
            # botocore itself makes a 500 of what is no XML where it expects some.
            with pytest.raises(StorageError, match=r"not that of an S3 server|refused the request.*\(500"):
                call()
        result = boxcar("plan", "s3://photos", tmp_path / "run", "--model", artifact, code=5)
        assert len(result.stderr.splitlines()) == 1
        server.shutdown()


class _FailsOnce(_WebServer):
    """Fails after it has sent the checksum of an object, as a server does that loses the object meanwhile."""

    answers: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        status = self.answers.pop(0)
        self.send_response(status)
        self.send_header("x-amz-checksum-crc32", base64.b64encode(zlib.crc32(b"whole").to_bytes(4)).decode())
        self.send_header("ETag", '"e"')
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"whole")


def test_a_failed_answer_with_a_checksum_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no matter of credentials, although botocore raises AttributeError."""
    monkeypatch.setattr(_FailsOnce, "answers", [500, 200])
    with ThreadingHTTPServer(("127.0.0.1", 0), _FailsOnce) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        assert open_store("s3://photos").read("plan.json") == b"whole"
        server.shutdown()
    assert _FailsOnce.answers == []


def test_an_answer_that_botocore_cannot_read() -> None:
    def garbled(**_options: object) -> None:
        raise ResponseParserError("Unable to parse response:\n<html>")

    store: Any = S3Store("s3://photos")
    store.client.meta.events.register("before-call.s3", garbled)
    for call in _calls(store):
        with pytest.raises(StorageError, match="not that of an S3 server"):
            call()


def test_a_listing_without_etags(moto: str) -> None:
    boto3.session.Session().client("s3").create_bucket(Bucket="photos")
    boto3.session.Session().client("s3").put_object(Bucket="photos", Key="a.jpg", Body=b"a")
    store: Any = S3Store("s3://photos")
    store.client.meta.events.register(
        "after-call.s3.ListObjectsV2", lambda parsed, **_: [found.pop("ETag") for found in parsed["Contents"]]
    )
    with pytest.raises(StorageError, match="not that of an S3 server"):
        list(store.list())


def _refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "a\nb"}}, "GetObject")


@pytest.mark.parametrize(
    "code", ["AccessDenied", "InvalidObjectState", "KMS.DisabledException", "KMS.KMSInvalidStateException",
             "KMS.NotFoundException"],
)  # fmt: skip
def test_an_object_that_may_not_be_read(code: str) -> None:
    """Its key was disabled or deleted: a matter of this image, and of no use to try again."""
    store: Any = S3Store("s3://photos")
    store.client = _Client(_refusal(code))
    with pytest.raises(ItemError) as caught:
        store.fetch(Entry("a.jpg", 5, etag="e"))
    assert caught.value.status == "forbidden"
    store.client = _Client(_refusal(code))
    with pytest.raises(StorageError):  # a file of our own
        store.read("plan.json")


@pytest.mark.parametrize("code", ["KMS.ThrottlingException", "KMS.DependencyTimeoutException", "SlowDown"])
def test_what_passes_is_tried_again_and_is_no_record(code: str) -> None:
    store: Any = S3Store("s3://photos")
    store.client = _Client(*[_refusal(code)] * 7, b"whole")
    assert store.fetch(Entry("a.jpg", 5, etag="e")).data == b"whole"
    store.client = _Client(*[_refusal(code)] * 8)
    with pytest.raises(StorageError, match=code):
        store.fetch(Entry("a.jpg", 5, etag="e"))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionClosedError(endpoint_url="http://s3"),
        EndpointConnectionError(endpoint_url="http://s3"),
        SSLError("bad record mac"),
        ReadTimeoutError(endpoint_url="http://s3"),
    ],
)
def test_connections_that_break_are_opened_again(error: Exception) -> None:
    """Each as often as was said, whichever layer says so and however many other requests fail."""
    store: Any = S3Store("s3://photos")
    store.client = _Client(*[error] * 7, b"whole")
    assert store.fetch(Entry("a.jpg", 5, etag="e")).data == b"whole"
    store.client = _Client(*[error] * 8)
    with pytest.raises(StorageError, match="check the network"):
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
