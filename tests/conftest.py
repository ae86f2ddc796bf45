"""Shared fixtures: a real S3 server over a temporary folder, and a small real artifact."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.support.artifacts import make_artifact
from tests.support.local_s3 import ACCESS_KEY, SECRET_KEY, LocalS3, serve

# `detector.model.device.make_deterministic` sets this too, but MKL must see it before its first use.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
# Each of several workers uses one thread: with a thread for every core in each of them, they would wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Programs that tests start write bytecode: torch and Great Expectations take three times as long to import without.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


# Tests that use one of these fixtures are slow: browsers, and runs of the job that are killed or disturbed.
SLOW_FIXTURES = {"browser", "world"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a slow fixture, and put files with slow tests first.

    A worker that began with such a file when the others have nothing left to do would keep them waiting.
    """
    for item in items:
        if SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def aws_settings() -> Iterator[None]:
    """No test sees the user's own AWS settings, or reaches AWS."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # the discard port: refuses
        yield


@pytest.fixture(scope="session")
def s3_server(aws_settings: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    """`rclone serve s3` on a free port."""
    with serve(tmp_path_factory.mktemp("s3"), tmp_path_factory.mktemp("rclone") / "log") as server:
        yield server


@dataclass(frozen=True)
class Bucket:
    """A bucket, and the folder in which the server keeps it; write through the server only, which caches listings."""

    uri: str  # without a slash at its end
    folder: Path

    def put(self, key: str, data: bytes) -> None:
        """Write one object."""
        self._client().put_object(Bucket=self.folder.name, Key=key, Body=data)

    def delete(self, key: str) -> None:
        """Remove one object."""
        self._client().delete_object(Bucket=self.folder.name, Key=key)

    def upload(self, folder: Path, prefix: str) -> None:
        """Write every file below a folder."""
        client = self._client()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = f"{prefix}/{path.relative_to(folder).as_posix()}"
                client.put_object(Bucket=self.folder.name, Key=key, Body=path.read_bytes())

    def _client(self) -> Any:
        return boto3.session.Session().client("s3")


@pytest.fixture
def bucket(s3_server: LocalS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A new, empty bucket."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    name = f"bucket-{tmp_path.name.replace('_', '-').lower()}"
    boto3.session.Session().client("s3").create_bucket(Bucket=name)
    return Bucket(f"s3://{name}", s3_server.root / name)


@pytest.fixture(scope="session", name="make_artifact")
def make_artifact_fixture() -> Callable[..., Path]:
    """`make_artifact` for tests that need an artifact of their own."""
    return make_artifact


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small artifact that needs no proposals."""
    return make_artifact(tmp_path_factory.mktemp("artifact") / "tiny", proposals=False)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """moto's server on a free port; it takes half a second to stop."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def moto(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """moto's S3, empty, which has what rclone's lacks: versions, conditional reads, permissions, control characters."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server)
    yield moto_server
    urllib.request.urlopen(urllib.request.Request(f"{moto_server}/moto-api/reset", method="POST")).close()
