"""Archives from anywhere: they are downloaded with resume, verified before use, and unpacked without trust."""

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from detector.common.errors import ArchiveError
from detector.common.progress import progress

CHUNK = 1 << 20
# A connection that sends nothing for this long counts as lost; the next attempt resumes where it stopped.
TIMEOUT_S = 60.0
# The download fails after this many attempts in a row that bring no byte.
ATTEMPTS = 3
# COCO's train2017, the largest archive in common use, unpacks to 18 GiB and 118,000 members.
MAX_BYTES = 32 << 30
MAX_MEMBERS = 1_000_000
# Programs pad a tar file with zeros to a multiple of their block, 10 KiB by default; endless zeros are a gzip bomb.
_MAX_PADDING = 16 << 20

_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


class _HttpError(Exception):
    """The server answered with an HTTP status that is not a success."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"HTTP {status} {reason}")
        self.status = status


def _parse_checksum(checksum: str) -> tuple[str, str]:
    match = re.fullmatch(r"(md5):([0-9a-f]{32})|(sha256):([0-9a-f]{64})", checksum.lower())
    if match is None:
        raise ArchiveError(f"checksum {checksum!r} must read 'md5:<32 hex digits>' or 'sha256:<64 hex digits>'")
    algorithm, expected = filter(None, match.groups())
    return algorithm, expected


def _digest(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file, progress(None, path.stat().st_size, f"verify {path.name}", "B") as bar:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


@contextmanager
def _open_http(url: str, offset: int) -> Iterator[tuple[Any, int, int | None]]:
    """Open the object for reading from `offset` on.

    Returns the stream, where its bytes begin, and the size of the whole object, or None if the server does not say.
    Raises _HttpError.
    """
    request = urllib.request.Request(url, headers={"Range": f"bytes={offset}-"} if offset else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            raise _HttpError(error.code, str(error.reason)) from error
    with response:
        start = offset if response.status == 206 else 0  # a server without ranges sends everything again
        length = response.headers.get("Content-Length")
        yield response, start, None if length is None else start + int(length)


@contextmanager
def _open_s3(url: str, offset: int) -> Iterator[tuple[Any, int, int | None]]:
    """Open an S3 object as `_open_http` opens a URL."""
    import boto3  # slow to import, and needed for s3:// only
    from botocore.exceptions import BotoCoreError, ClientError

    parts = urlsplit(url)
    wanted = {"Range": f"bytes={offset}-"} if offset else {}
    try:
        answer = boto3.client("s3").get_object(Bucket=parts.netloc, Key=unquote(parts.path.lstrip("/")), **wanted)
        with answer["Body"] as body:
            yield body, offset, offset + answer["ContentLength"]
    except ClientError as error:
        raise _HttpError(error.response["ResponseMetadata"]["HTTPStatusCode"], str(error)) from error
    except BotoCoreError as error:
        raise ConnectionError(str(error)) from error


def _transfer(url: str, part: Path) -> bool:
    """Fetch what `part` lacks. Return True when all is there, and False when the connection ended early."""
    offset = part.stat().st_size if part.exists() else 0
    source = _open_s3 if urlsplit(url).scheme == "s3" else _open_http
    try:
        with (
            source(url, offset) as (stream, start, total),
            part.open("r+b" if start else "wb") as file,
            progress(None, total, part.name.removesuffix(".part"), "B", done=start) as bar,
        ):
            file.seek(start)
            while chunk := stream.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            return total is None or file.tell() >= total
    except _HttpError as error:
        if error.status == 416 and offset:  # nothing comes after `offset`: the file is whole, or its checksum fails
            return True
        if error.status >= 500 or error.status in (408, 429):
            raise ConnectionError(str(error)) from error
        raise ArchiveError(f"{url}: {error}") from error


def _download(url: str, part: Path) -> None:
    """Fetch the whole object into `part`, in as many attempts as bring new bytes. Raises ArchiveError."""
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


def local_path(url: str) -> Path | None:
    """Return the path that `url` names on this machine, as a path or as file://, or None for any other URL."""
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        return Path(unquote(parts.path) if parts.scheme else url)
    return None


def fetch_archive(url: str, checksum: str, cache: Path) -> Path:
    """Return the path of the verified archive.

    url: a path, file://, http(s):// or s3://bucket/key; checksum: "md5:..." or "sha256:...". A local file is used
    where it lies. Others are downloaded into `cache` once, and `*.part` files are resumed by HTTP ranges.
    Raises ArchiveError: the file is missing, the download is refused or interrupted, the scheme is unknown, or the
    checksum is wrong. The last error shows both digests; a downloaded file is removed then, and a local one is kept.
    """
    algorithm, expected = _parse_checksum(checksum)
    if (local := local_path(url)) is not None:
        if not local.is_file():
            raise ArchiveError(f"{local}: there is no such archive")
        found = _digest(local, algorithm)
        if found != expected:
            raise ArchiveError(
                f"{local}: {algorithm} is {found}, expected {expected}; fetch the file again or correct the checksum"
            )
        return local
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "s3"):
        raise ArchiveError(f"{url}: cannot fetch {parts.scheme}://; use a path, file://, http(s):// or s3://")

    cache.mkdir(parents=True, exist_ok=True)
    # The digest keeps two archives of one name apart, and an old file is not taken for one with a corrected checksum.
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


class _Member(NamedTuple):
    """One member of an archive: size as its header states it in bytes; problem: why it must not be unpacked."""

    name: str
    is_folder: bool
    size: int
    problem: str | None
    open: Callable[[], IO[bytes] | None]


_NO_FILE = "is a link or a device, which data sets never need"


def _tar_members(archive: Path, mode: Literal["r:", "r:gz"]) -> Iterator[_Member]:
    with tarfile.open(archive, mode) as tar:
        for member in tar:
            problem = None if member.isdir() or member.isreg() else _NO_FILE
            yield _Member(member.name, member.isdir(), member.size, problem, partial(tar.extractfile, member))
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


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 if the file was made without Unix modes
            problem = None if kind in (0, stat.S_IFREG, stat.S_IFDIR) else _NO_FILE
            if info.flag_bits & 1:
                problem = "is encrypted"
            name = info.filename.replace("\\", "/")  # as some programs write it on Windows
            yield _Member(name, name.endswith("/"), info.file_size, problem, partial(file.open, info))


def _target(folder: Path, name: str) -> Path | None:
    """Return where a member goes, or None if it would leave the resolved `folder`.

    tarfile's filter "data" is not used: it would follow links inside the folder, and write over an earlier member.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or re.match(r"[A-Za-z]:", name):
        return None
    target = folder / path
    # Links are never unpacked, but the folder may have held one before.
    return None if target.is_symlink() or not target.parent.resolve().is_relative_to(folder) else target


def _members(archive: Path) -> Iterator[_Member]:
    with archive.open("rb") as file:
        magic = file.read(4)
    if magic in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip_members(archive)
    return _tar_members(archive, "r:gz" if magic.startswith(b"\x1f\x8b") else "r:")


def unpack(archive: Path, folder: Path, max_bytes: int = MAX_BYTES, max_members: int = MAX_MEMBERS) -> None:
    """Unpack a tar, a tar.gz or a zip into `folder`, which is made if needed.

    Only regular files and folders are written, with plain permissions and new times. Nothing leaves `folder`, and
    nothing replaces a file. Raises ArchiveError. It names archive and member if a path leaves the folder, a member is
    a link, a device, encrypted or repeated, there are more than `max_members`, or their content has more than
    `max_bytes`. It names the archive if that is missing, truncated, damaged or of another kind.
    """
    try:
        _unpack(archive, folder.resolve(), max_bytes, max_members)
    except FileNotFoundError as error:
        raise ArchiveError(f"{archive}: there is no such archive") from error
    # zipfile raises NotImplementedError for a compression that it does not know.
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ArchiveError(
            f"{archive}: truncated, damaged or not a tar, tar.gz or zip archive ({error}); fetch it again"
        ) from error


def _unpack(archive: Path, folder: Path, max_bytes: int, max_members: int) -> None:
    members = _members(archive)
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for number, member in enumerate(members, 1):

        def refuse(reason: str, name: str = member.name) -> ArchiveError:
            return ArchiveError(f"{archive}: member {name!r} {reason}; nothing more was unpacked")

        if number > max_members:
            raise refuse(f"is one more than the {max_members:,} members allowed")
        if member.problem:
            raise refuse(member.problem)
        if (target := _target(folder, member.name)) is None:
            raise refuse("has a path that leaves the folder")
        if written + member.size > max_bytes:
            raise refuse(f"would bring the total over the {max_bytes:,} bytes allowed")
        try:
            (target if member.is_folder else target.parent).mkdir(parents=True, exist_ok=True)
            if member.is_folder:
                continue
            source = member.open()
            assert source is not None  # only links and devices have no data
            with source, target.open("xb") as file:
                while chunk := source.read(CHUNK):
                    written += len(chunk)  # a header may state a wrong size
                    if written > max_bytes:
                        raise refuse(f"brings the total over the {max_bytes:,} bytes allowed")
                    file.write(chunk)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise refuse("was unpacked before, or takes the place of one that was") from error
