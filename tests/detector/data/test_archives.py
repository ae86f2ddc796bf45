import gzip
import hashlib
import io
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto import mock_aws

from detector.common.errors import ArchiveError
from detector.data import archives
from detector.data.archives import fetch_archive, unpack

PAYLOAD = np.random.default_rng(0).bytes(300_000)


def md5(data: bytes) -> str:
    return "md5:" + hashlib.md5(data).hexdigest()


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves PAYLOAD, and remembers each request's Range."""

    ranges: list[str | None]
    honour_ranges = True
    cut_after: int | None = None  # bytes of the next answer after which the connection is closed, once
    status: int | None = None


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        if self.server.status is not None:
            self.send_error(self.server.status)
            return
        start = 0
        if wanted and self.server.honour_ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(PAYLOAD):
                self.send_error(416)
                return
        body = PAYLOAD[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, self.server.cut_after = self.server.cut_after, None
        self.wfile.write(body if cut is None else body[:cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.ranges = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/some/data%20set.tar"


def test_download_is_verified_named_and_not_repeated(server: Server, tmp_path: Path) -> None:
    path = fetch_archive(url(server), sha256(PAYLOAD), tmp_path)
    assert path.read_bytes() == PAYLOAD
    assert path.name.endswith("-data set.tar")
    assert fetch_archive(url(server), sha256(PAYLOAD).upper().replace("SHA", "sha"), tmp_path) == path
    assert server.ranges == [None]
    assert list(tmp_path.iterdir()) == [path]


def test_a_broken_connection_is_resumed_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.cut_after = 100_000
    assert fetch_archive(url(server), md5(PAYLOAD), tmp_path).read_bytes() == PAYLOAD
    assert server.ranges == [None, "bytes=100000-"]


def part_of(tmp_path: Path) -> Path:
    return tmp_path / f"{hashlib.md5(PAYLOAD).hexdigest()[:12]}-data set.tar.part"


def test_an_earlier_run_is_resumed(server: Server, tmp_path: Path) -> None:
    part_of(tmp_path).write_bytes(PAYLOAD[:1234])
    assert fetch_archive(url(server), md5(PAYLOAD), tmp_path).read_bytes() == PAYLOAD
    assert server.ranges == ["bytes=1234-"]


def test_a_part_that_is_already_whole_needs_no_more_bytes(server: Server, tmp_path: Path) -> None:
    part_of(tmp_path).write_bytes(PAYLOAD)
    assert fetch_archive(url(server), md5(PAYLOAD), tmp_path).read_bytes() == PAYLOAD
    assert server.ranges == [f"bytes={len(PAYLOAD)}-"]


def test_a_server_without_ranges_sends_everything_again(server: Server, tmp_path: Path) -> None:
    server.honour_ranges = False
    part_of(tmp_path).write_bytes(b"x" * 1234)
    assert fetch_archive(url(server), md5(PAYLOAD), tmp_path).read_bytes() == PAYLOAD


def test_a_wrong_download_is_removed_and_both_digests_shown(server: Server, tmp_path: Path) -> None:
    wrong = md5(b"something else")
    with pytest.raises(ArchiveError) as caught:
        fetch_archive(url(server), wrong, tmp_path)
    assert md5(PAYLOAD)[4:] in str(caught.value)
    assert wrong[4:] in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_part_does_not_survive_its_checksum(server: Server, tmp_path: Path) -> None:
    part_of(tmp_path).write_bytes(b"x" * 1234)
    with pytest.raises(ArchiveError, match="run again"):
        fetch_archive(url(server), md5(PAYLOAD), tmp_path)
    assert fetch_archive(url(server), md5(PAYLOAD), tmp_path).read_bytes() == PAYLOAD


def test_a_missing_file_is_an_error_at_once(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(ArchiveError, match="HTTP 404"):
        fetch_archive(url(server), md5(PAYLOAD), tmp_path)
    assert len(server.ranges) == 1


def test_a_failing_server_is_asked_again_and_then_given_up(server: Server, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(ArchiveError, match="HTTP 503"):
        fetch_archive(url(server), md5(PAYLOAD), tmp_path)
    assert len(server.ranges) == archives.ATTEMPTS


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="sets")
        client.put_object(Bucket="sets", Key="some/data set.tar", Body=PAYLOAD)
        yield "s3://sets"


@pytest.mark.parametrize("have", [0, 1234, len(PAYLOAD)])
def test_s3_is_fetched_and_resumed(bucket: str, tmp_path: Path, have: int) -> None:
    part_of(tmp_path).write_bytes(PAYLOAD[:have])
    path = fetch_archive(f"{bucket}/some/data%20set.tar", md5(PAYLOAD), tmp_path)
    assert path.read_bytes() == PAYLOAD
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_s3_object_is_an_error(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"s3://sets/none\.tar: HTTP 404"):
        fetch_archive(f"{bucket}/none.tar", md5(PAYLOAD), tmp_path)


def test_local_files_are_verified_where_they_lie(tmp_path: Path) -> None:
    path = tmp_path / "a b.tar"
    path.write_bytes(PAYLOAD)
    cache = tmp_path / "cache"
    assert fetch_archive(str(path), md5(PAYLOAD), cache) == path
    assert fetch_archive(path.as_uri(), sha256(PAYLOAD), cache) == path
    with pytest.raises(ArchiveError, match=r"a b\.tar: md5 is .* expected"):
        fetch_archive(str(path), md5(b""), cache)
    assert path.exists()
    assert not cache.exists()


@pytest.mark.parametrize(
    ("where", "checksum", "reason"),
    [
        ("none.tar", md5(b""), "no such archive"),
        ("ftp://host/a.tar", md5(b""), "cannot fetch ftp://"),
        ("none.tar", "d41d8cd98f00b204e9800998ecf8427e", "must read"),
        ("none.tar", "md5:123", "must read"),
        ("none.tar", "crc32:d41d8cd98f00b204e9800998ecf8427e", "must read"),
    ],
)
def test_what_cannot_be_fetched(tmp_path: Path, where: str, checksum: str, reason: str) -> None:
    with pytest.raises(ArchiveError, match=reason):
        fetch_archive(where, checksum, tmp_path)


def add(tar: tarfile.TarFile, name: str, data: bytes = b"data", kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    member.size = len(data) if kind == tarfile.REGTYPE else 0
    tar.addfile(member, io.BytesIO(data) if member.size else None)


def make_tar(path: Path, names: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in names.items():
            add(tar, name, data)
    return path


def make_zip(path: Path, names: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in names.items():
            archive.writestr(name, data)
    return path


FILES = {"kit/a.txt": b"one", "kit/deep/b.bin": PAYLOAD, "./c": b""}


@pytest.mark.parametrize("kind", ["w", "w:gz", "zip"])
def test_every_kind_unpacks_whatever_its_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "archive"
    make_zip(path, FILES) if kind == "zip" else make_tar(path, FILES, kind)
    out = tmp_path / "out"
    unpack(path, out)
    found = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert found == {"kit/a.txt": b"one", "kit/deep/b.bin": PAYLOAD, "c": b""}


def test_folders_and_empty_archives_unpack(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "kit", kind=tarfile.DIRTYPE)
        add(tar, "kit/empty/", kind=tarfile.DIRTYPE)
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert (tmp_path / "out/kit/empty").is_dir()
    unpack(make_zip(tmp_path / "none.zip", {}), tmp_path / "none")
    assert list((tmp_path / "none").iterdir()) == []


def assert_refused(path: Path, folder: Path, reason: str, **limits: int) -> None:
    """Refused, and nothing was written beside `folder`."""
    outside = folder.parent / "evil"
    with pytest.raises(ArchiveError, match=reason) as caught:
        unpack(path, folder / "in", **limits)
    assert str(path) in str(caught.value)
    assert not outside.exists()
    assert not any(p.is_symlink() for p in folder.rglob("*"))


ESCAPES = ["../../evil", "kit/../../../evil", "/tmp/boxcar-evil/x", "..\\evil", "C:\\evil", "C:/evil"]


@pytest.mark.parametrize("name", ESCAPES)
def test_paths_that_escape_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "deep"
    assert_refused(make_tar(tmp_path / "a.tar", {"fine": b"", name: b"x"}), folder / "t", "leaves the folder")
    assert_refused(make_zip(tmp_path / "a.zip", {"fine": b"", name: b"x"}), folder / "z", "leaves the folder")
    assert not Path("/tmp/boxcar-evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_tars_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "kit/a", b"data")
        add(tar, "kit/b", kind=kind, link="a")
    assert_refused(tmp_path / "a.tar", tmp_path / "out", "'kit/b' is a link or a device")


def test_a_zip_with_windows_paths_is_unpacked(tmp_path: Path) -> None:
    unpack(make_zip(tmp_path / "a.zip", {"kit\\": b"", "kit\\a\\b.txt": b"x"}), tmp_path / "out")
    assert (tmp_path / "out/kit/a/b.txt").read_bytes() == b"x"


def test_links_in_zips_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("kit/b")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert_refused(tmp_path / "a.zip", tmp_path / "out", "is a link or a device")


def test_a_link_that_lay_in_the_folder_before_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/kit").symlink_to(tmp_path / "outside")
    with pytest.raises(ArchiveError, match="leaves the folder"):
        unpack(make_tar(tmp_path / "a.tar", {"kit/a": b"x"}), tmp_path / "out")
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_limits_hold(tmp_path: Path, make) -> None:
    path = make(tmp_path / "a", {"a": bytes(600), "b": bytes(500)})
    assert_refused(path, tmp_path / "out", "'b' would bring the total over the 1,000 bytes", max_bytes=1000)
    unpack(path, tmp_path / "exact", max_bytes=1100)
    assert_refused(path, tmp_path / "out2", "one more than the 1 members", max_members=1)


def test_a_zip_that_lies_about_its_size_is_stopped(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a": bytes(100_000)})
    data = path.read_bytes()
    honest, lie = (100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    assert data.count(honest) == 2
    path.write_bytes(data.replace(honest, lie))
    with pytest.raises(ArchiveError):
        unpack(path, tmp_path / "out", max_bytes=1000)
    assert sum(p.stat().st_size for p in (tmp_path / "out").iterdir()) <= 1000


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_a_file_in_the_place_of_another_is_refused(tmp_path: Path, make) -> None:
    path = make(tmp_path / "a", {"a": b"1", "a/b": b"2"})
    assert_refused(path, tmp_path / "out", "takes the place")


def test_a_repeated_member_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "a", b"1")
        add(tar, "a", b"2")
    assert_refused(tmp_path / "a.tar", tmp_path / "out", "unpacked before")
    assert (tmp_path / "out/in/a").read_bytes() == b"1"


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a": b"1"})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert_refused(path, tmp_path / "out", "is encrypted")


# Cuts in the middle of a member, exactly between two members, and inside the end of the archive.
@pytest.mark.parametrize("cut", [700, 1024, 2048, 2060])
def test_a_truncated_tar_is_refused_wherever_it_was_cut(tmp_path: Path, cut: int) -> None:
    whole = make_tar(tmp_path / "whole.tar", {"a": b"x" * 500, "b": b"y" * 500}).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:cut])
    assert_refused(tmp_path / "cut.tar", tmp_path / "out", "truncated")


@pytest.mark.parametrize("kept", [0.3, 0.999])
def test_a_truncated_tar_gz_is_refused(tmp_path: Path, kept: float) -> None:
    whole = make_tar(tmp_path / "whole.tar.gz", FILES, "w:gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: int(len(whole) * kept)])
    assert_refused(tmp_path / "cut.tar.gz", tmp_path / "out", "truncated")


def test_damage_is_refused(tmp_path: Path) -> None:
    whole = make_tar(tmp_path / "whole.tar", {"a": b"x" * 500, "b": b"y" * 500}).read_bytes()
    (tmp_path / "header.tar").write_bytes(whole[:1030] + b"?" + whole[1031:])  # the second member's checksum fails
    assert_refused(tmp_path / "header.tar", tmp_path / "t", "damaged")
    squeezed = bytearray(gzip.compress(whole))
    squeezed[-6] ^= 1  # gzip's own sum
    (tmp_path / "sum.tar.gz").write_bytes(squeezed)
    assert_refused(tmp_path / "sum.tar.gz", tmp_path / "g", "damaged")
    data = bytearray(make_zip(tmp_path / "a.zip", {"a": PAYLOAD}).read_bytes())
    data[5000] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    assert_refused(tmp_path / "a.zip", tmp_path / "z", "damaged")
    (tmp_path / "cut.zip").write_bytes(data[:-100])
    assert_refused(tmp_path / "cut.zip", tmp_path / "c", "truncated")


@pytest.mark.parametrize("content", [b"", b"hello", b"<html>404</html>" * 100])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    assert_refused(tmp_path / "a.tar", tmp_path / "out", "not a tar")


def test_a_missing_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="no such archive"):
        unpack(tmp_path / "none.tar", tmp_path / "out")
