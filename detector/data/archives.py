"""Archives from anywhere: downloaded with resume, verified before use, unpacked without trust."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import re
import stat
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

from detector.common.errors import ArchiveError

CHUNK = 1 << 20
# A connection that says nothing for this long is dead; the next attempt resumes where it stopped.
TIMEOUT_S = 60.0
# Attempts in a row that bring no byte before giving up.
ATTEMPTS = 3
# COCO's train2017, the largest archive in common use, unpacks to 18 GiB and 118,000 members.
MAX_BYTES = 32 << 30
MAX_MEMBERS = 1_000_000
# Writers pad a tar with zeros to a multiple of their block, 10 KiB by default; endless zeros are a gzip bomb.
_MAX_PADDING = 16 << 20

_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


def _parse_checksum(checksum: str) -> tuple[str, str]:
    match = re.fullmatch(r"(md5|sha256):([0-9a-f]+)", checksum.lower())
    if match is None or len(match[2]) != {"md5": 32, "sha256": 64}[match[1]]:
        raise ArchiveError(f"checksum {checksum!r} must read 'md5:<32 hex digits>' or 'sha256:<64 hex digits>'")
    return match[1], match[2]


def _digest(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with (
        path.open("rb") as file,
        tqdm(
            total=path.stat().st_size,
            desc=f"verify {path.name}",
            unit="B",
            unit_scale=True,
            delay=2,
            leave=False,
            disable=None,
        ) as bar,
    ):
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


@dataclass(frozen=True)
class _Download:
    """An open source: where its bytes begin, and how long the whole object is (None: the server does not say)."""

    stream: Any
    start: int
    total: int | None


@contextmanager
def _open_http(url: str, offset: int) -> Iterator[_Download]:
    request = urllib.request.Request(url, headers={"Range": f"bytes={offset}-"} if offset else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and offset:  # nothing after `offset`: what is there already is the whole, or wrong
                yield _Download(None, offset, offset)
                return
            if error.code >= 500 or error.code in (408, 429):
                raise ConnectionError(f"HTTP {error.code} {error.reason}") from error
            raise ArchiveError(f"{url}: HTTP {error.code} {error.reason}") from error
    with response:
        resumed = response.status == 206
        start = offset if resumed else 0  # a server without ranges sends everything again
        length = response.headers.get("Content-Length")
        yield _Download(response, start, None if length is None else start + int(length))


@contextmanager
def _open_s3(url: str, offset: int) -> Iterator[_Download]:
    import boto3  # heavy, and needed for s3:// only
    from botocore.exceptions import BotoCoreError, ClientError

    parts = urlsplit(url)
    where = {"Bucket": parts.netloc, "Key": unquote(parts.path.lstrip("/"))}
    try:
        client = boto3.client("s3")
        total = client.head_object(**where)["ContentLength"]
        if offset >= total:
            yield _Download(None, offset, total)
            return
        with client.get_object(**where, Range=f"bytes={offset}-")["Body"] as body:
            yield _Download(body, offset, total)
    except ClientError as error:
        raise ArchiveError(f"{url}: {error}") from error
    except BotoCoreError as error:
        raise ConnectionError(str(error)) from error


def _transfer(url: str, part: Path) -> bool:
    """Fetch what `part` lacks. True when all is there; False when the connection ended early."""
    offset = part.stat().st_size if part.exists() else 0
    source = _open_s3 if urlsplit(url).scheme == "s3" else _open_http
    with source(url, offset) as download:
        if download.stream is None:
            return True
        with (
            part.open("r+b" if download.start else "wb") as file,
            tqdm(
                total=download.total,
                initial=download.start,
                desc=part.name.removesuffix(".part"),
                unit="B",
                unit_scale=True,
                delay=2,
                leave=False,
                disable=None,
            ) as bar,
        ):
            file.seek(download.start)
            while chunk := download.stream.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            return download.total is None or file.tell() >= download.total


def _download(url: str, part: Path) -> None:
    fruitless = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        cause: Exception | None = None
        try:
            if _transfer(url, part):
                return
        except _NETWORK_ERRORS as error:
            cause = error
        after = part.stat().st_size if part.exists() else 0
        fruitless = 0 if after > before else fruitless + 1
        if fruitless == ATTEMPTS:
            raise ArchiveError(
                f"{url}: the download stopped after {after:,} bytes ({cause or 'connection closed'}); "
                f"run again to resume from {part}"
            ) from cause


def fetch_archive(url: str, checksum: str, cache: Path) -> Path:
    """The verified archive as a local file.

    url: a path, file://, http(s):// or s3://bucket/key; checksum: "md5:..." or "sha256:...". A local file is used
    where it lies; others are downloaded into `cache` once, resuming `*.part` files by HTTP ranges.
    Raises ArchiveError: a missing file, a refused or interrupted download, an unknown scheme, a wrong checksum
    (both digests are shown; a downloaded file is removed, a local one is left alone).
    """
    algorithm, expected = _parse_checksum(checksum)
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        local = Path(unquote(parts.path) if parts.scheme else url)
        if not local.is_file():
            raise ArchiveError(f"{local}: there is no such archive")
        found = _digest(local, algorithm)
        if found != expected:
            raise ArchiveError(
                f"{local}: {algorithm} is {found}, expected {expected}; fetch the file again or correct the checksum"
            )
        return local
    if parts.scheme not in ("http", "https", "s3"):
        raise ArchiveError(f"{url}: cannot fetch {parts.scheme}://; use a path, file://, http(s):// or s3://")

    cache.mkdir(parents=True, exist_ok=True)
    # The digest keeps two archives of one name apart, and a corrected checksum from meeting the old file.
    target = cache / f"{expected[:12]}-{PurePosixPath(unquote(parts.path)).name or 'archive'}"
    if target.exists() and _digest(target, algorithm) == expected:
        return target
    part = target.with_name(target.name + ".part")
    _download(url, part)
    found = _digest(part, algorithm)
    if found != expected:
        part.unlink()
        raise ArchiveError(
            f"{url}: {algorithm} is {found}, expected {expected}; the download was removed: "
            "run again, or correct the checksum if the publisher changed the file"
        )
    os.replace(part, target)
    return target


class _Unpacker:
    """Writes members under one folder, within the limits."""

    def __init__(self, archive: Path, folder: Path, max_bytes: int, max_members: int) -> None:
        self.archive = archive
        self.folder = folder.resolve()
        self.max_bytes = max_bytes
        self.max_members = max_members
        self.bytes = 0
        self.members = 0

    def refuse(self, member: str, reason: str) -> ArchiveError:
        return ArchiveError(f"{self.archive}: member {member!r} {reason}; nothing more was unpacked")

    def target(self, name: str) -> Path:
        """Where the member goes; counts it. Raises ArchiveError if it would leave the folder."""
        self.members += 1
        if self.members > self.max_members:
            raise self.refuse(name, f"is one more than the {self.max_members:,} members allowed")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or re.match(r"[A-Za-z]:", name):
            raise self.refuse(name, "has a path that leaves the folder")
        target = self.folder / path
        # Links are never unpacked, but the folder may have held one before.
        if not target.parent.resolve().is_relative_to(self.folder) or target.is_symlink():
            raise self.refuse(name, "has a path that leaves the folder")
        return target

    def directory(self, name: str) -> None:
        target = self.target(name)
        if target.exists() and not target.is_dir():
            raise self.refuse(name, "is a folder where a file was unpacked")
        target.mkdir(parents=True, exist_ok=True)

    def file(self, name: str, declared: int, source: IO[bytes]) -> None:
        target = self.target(name)
        if self.bytes + declared > self.max_bytes:
            raise self.refuse(name, f"would bring the total over the {self.max_bytes:,} bytes allowed")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                while chunk := source.read(CHUNK):
                    self.bytes += len(chunk)  # a header may lie about the size
                    if self.bytes > self.max_bytes:
                        raise self.refuse(name, f"brings the total over the {self.max_bytes:,} bytes allowed")
                    file.write(chunk)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise self.refuse(name, "was unpacked before, or takes the place of one that was") from error


def _unpack_tar(unpacker: _Unpacker, mode: Literal["r:", "r:gz"]) -> None:
    with tarfile.open(unpacker.archive, mode) as tar:
        for member in tar:
            if member.isdir():
                unpacker.directory(member.name)
            elif member.isreg():
                source = tar.extractfile(member)
                assert source is not None  # only links and devices have no data
                unpacker.file(member.name, member.size, source)
            else:
                raise unpacker.refuse(member.name, "is a link or a device, which data sets never need")
        # Iteration ends silently at a damaged or cut header; only a block of zeros is the true end of a tar file.
        stream = tar.fileobj
        assert stream is not None
        stream.seek(tar.offset)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("unexpected end of data")
        rest = 0
        while chunk := stream.read(CHUNK):  # to the end: only there does gzip check its sum
            rest += len(chunk)
            if rest > _MAX_PADDING:
                raise tarfile.ReadError("too many bytes after the end of the archive")


def _unpack_zip(unpacker: _Unpacker) -> None:
    with zipfile.ZipFile(unpacker.archive) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 when the writer knows no Unix modes
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise unpacker.refuse(info.filename, "is a link or a device, which data sets never need")
            if info.is_dir():
                unpacker.directory(info.filename)
                continue
            if info.flag_bits & 1:
                raise unpacker.refuse(info.filename, "is encrypted")
            with archive.open(info) as source:
                unpacker.file(info.filename, info.file_size, source)


def unpack(archive: Path, folder: Path, max_bytes: int = MAX_BYTES, max_members: int = MAX_MEMBERS) -> None:
    """Unpack a tar, a tar.gz or a zip into `folder`, which is made if needed.

    Only regular files and folders, with plain permissions and new times; nothing leaves `folder` or replaces a file.
    Raises ArchiveError, naming archive and member: a path that escapes, a link, a device, an encrypted or repeated
    member, more than `max_bytes` of content or `max_members`; or, naming the archive: truncated, damaged, unknown.
    """
    try:
        with archive.open("rb") as file:
            magic = file.read(4)
    except FileNotFoundError as error:
        raise ArchiveError(f"{archive}: there is no such archive") from error
    folder.mkdir(parents=True, exist_ok=True)
    unpacker = _Unpacker(archive, folder, max_bytes, max_members)
    try:
        if magic in (b"PK\x03\x04", b"PK\x05\x06"):
            _unpack_zip(unpacker)
        else:
            _unpack_tar(unpacker, "r:gz" if magic.startswith(b"\x1f\x8b") else "r:")
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ArchiveError(
            f"{archive}: truncated, damaged or not a tar, tar.gz or zip archive ({error}); fetch it again"
        ) from error
