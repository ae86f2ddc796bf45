"""S3 and folders behind one small face. The only importer of boto3.

A store is a folder or an S3 prefix; keys are relative to it, with `/` between their components. Failures of a
single image are `ItemError`s; everything else that goes wrong is a `StorageError`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from jobs.errors import ItemError, StorageError, UsageError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

# botocore retries a request until its headers are there; a body that breaks off is fetched again this many times.
BODY_ATTEMPTS = 3
# At least as many connections as the worker fetches at once, so that none waits for another.
S3_CONNECTIONS = 32


@dataclass(frozen=True)
class Entry:
    """One object as a listing saw it. S3 tells an ETag; a folder tells a modification time."""

    key: str
    size: int  # bytes
    etag: str | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True)
class Content:
    """The bytes of one object, and the version that they are."""

    data: bytes
    etag: str
    version_id: str | None = None


class Store(Protocol):
    """A folder or an S3 prefix; `uri` ends with `/`."""

    uri: str

    def list(self) -> Iterator[Entry]:
        """Every object below, in no particular order."""

    def fetch(self, entry: Entry) -> Content:
        """The bytes that the listing saw; raises ItemError `missing`, `forbidden` or `changed`."""

    def read(self, key: str) -> bytes | None:
        """The bytes of an object of our own; None where there is none."""

    def write(self, key: str, data: bytes) -> None:
        """Put an object in place of what was there, in one step: readers see the old bytes or the new."""


def open_store(uri: str) -> Store:
    """The store that `s3://bucket/prefix` or a folder's path names; nothing is read yet."""
    if uri.startswith("s3://"):
        return S3Store(uri)
    if "://" in uri:
        raise UsageError(f"{uri}: only s3://bucket/prefix and folders can be read; give one of these")
    return FolderStore(uri)


def split_uri(uri: str) -> tuple[Store, str]:
    """The store that holds an object, and the object's key there."""
    parent, _, key = uri.rpartition("/")
    if not key or parent in ("s3:/", "s3:"):
        raise UsageError(f"{uri}: names no object; give s3://bucket/name or a file's path")
    return open_store(parent or ("/" if uri.startswith("/") else ".")), key


class FolderStore:
    """A folder on this machine.

    Names that begin with a dot are not listed, neither files nor folders: our own half-written files are among
    them. Links to files are read; links to folders are not entered, because they may form a ring.
    """

    def __init__(self, path: str) -> None:
        self.root = Path(os.path.realpath(path))
        self.uri = f"{self.root.as_posix().rstrip('/')}/"

    def list(self) -> Iterator[Entry]:
        """Every regular file below the folder; see the class for what is left out."""
        if not self.root.is_dir():
            raise StorageError(f"{self.root}: no such folder; check the path")
        for folder, subfolders, names in os.walk(self.root, onerror=_unreadable_folder):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            for name in names:
                path = Path(folder, name)
                if name.startswith(".") or (status := _stat(path)) is None:
                    continue
                key = path.relative_to(self.root).as_posix()
                try:
                    key.encode()
                except UnicodeEncodeError as error:
                    raise UsageError(f"{os.fsencode(path)!r}: the name is not UTF-8; rename the file") from error
                yield Entry(key, status.st_size, mtime_ns=status.st_mtime_ns)

    def fetch(self, entry: Entry) -> Content:
        """The bytes that the listing saw: same size and time; the ETag is their MD5."""
        path = self.root / entry.key
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                data = file.read() if (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns) else None
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ItemError("missing") from error
        except IsADirectoryError as error:
            raise ItemError("changed") from error
        except PermissionError as error:
            raise ItemError("forbidden") from error
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error.strerror}; check the disk and run again") from error
        if data is None or len(data) != entry.size:
            raise ItemError("changed")
        return Content(data, hashlib.md5(data, usedforsecurity=False).hexdigest())

    def read(self, key: str) -> bytes | None:
        """See Store."""
        path = self.root / key
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error

    def write(self, key: str, data: bytes) -> None:
        """Through a hidden temporary file and a rename."""
        path = self.root / key
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, data)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror}; check permissions and space") from error


def _unreadable_folder(error: OSError) -> NoReturn:
    """A folder that cannot be listed ends the plan: its images would be lost without a word."""
    raise StorageError(f"{error.filename}: cannot be listed: {error.strerror}; check its permissions") from error


def _stat(path: Path) -> os.stat_result | None:
    """What a file is; None where it is no file (a pipe, a socket) or went away since its folder was read.

    A link that leads nowhere is planned as it is, so that its record says `missing`.
    """
    for look in (path.stat, path.lstat):
        try:
            status = look()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StorageError(f"{path}: cannot be listed: {error.strerror}; check its permissions") from error
        return status if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) else None
    return None


def _replace(path: Path, data: bytes) -> None:
    """Write beside `path`, then rename over it; the disk has the bytes before the name does."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # it is gone where the rename was done already
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class S3Store:
    """An S3 prefix, read as a folder: `s3://bucket/a` holds `a/b.jpg`, not `ab.jpg`.

    Endpoint, region, credentials and profiles come from the standard AWS settings.
    """

    def __init__(self, uri: str) -> None:
        self.bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if not self.bucket:
            raise UsageError(f"{uri}: names no bucket; give s3://bucket/prefix")
        self.prefix = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        self.uri = f"s3://{self.bucket}/{self.prefix}"
        self._client = _s3_client()

    def list(self) -> Iterator[Entry]:
        """Every object below the prefix, however many pages the listing has."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        with _storage_errors(self.uri):
            for page in pages:
                if "IsTruncated" not in page:  # well-formed XML of something else would read as an empty listing
                    raise _not_s3(self.uri)
                for found in page.get("Contents", []):
                    etag = _etag(found, self.uri)
                    yield Entry(found["Key"].removeprefix(self.prefix), found["Size"], etag)

    def fetch(self, entry: Entry) -> Content:
        """The version that the listing saw; see Store."""
        from botocore.exceptions import ClientError

        # Without an ETag in the plan any version will do.
        condition = {"IfMatch": f'"{entry.etag}"'} if entry.etag else {}
        try:
            content = self._get(entry.key, **condition)
        except ClientError as error:
            raise _item_error(error, self.uri + entry.key) from error
        # Not every server knows If-Match.
        if entry.etag and content.etag != entry.etag:
            raise ItemError("changed")
        return content

    def read(self, key: str) -> bytes | None:
        """See Store."""
        from botocore.exceptions import ClientError

        with _storage_errors(self.uri + key):
            try:
                return self._get(key).data
            except ClientError as error:
                if error.response["Error"].get("Code") == "NoSuchKey":
                    return None
                raise

    def write(self, key: str, data: bytes) -> None:
        """One PUT, which S3 makes visible as a whole."""
        with _storage_errors(self.uri + key):
            answer = self._client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=data)
        _etag(answer, self.uri + key)  # without it nothing says that the bytes were stored

    def _get(self, key: str, **condition: str) -> Content:
        """One object; a body that breaks off is fetched again. ClientErrors pass: the caller knows what they mean."""
        from botocore.exceptions import (
            BotoCoreError,
            FlexibleChecksumError,
            IncompleteReadError,
            ReadTimeoutError,
            ResponseStreamingError,
        )
        from botocore.parsers import ResponseParserError

        broken = (FlexibleChecksumError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
        attempt = 1
        while True:
            try:
                response = self._client.get_object(Bucket=self.bucket, Key=self.prefix + key, **condition)
                data = response["Body"].read()
            except broken as error:
                if attempt == BODY_ATTEMPTS:
                    raise _unreachable(self.uri + key, error) from error
                attempt += 1
            except BotoCoreError as error:
                raise _unreachable(self.uri + key, error) from error
            except ResponseParserError as error:
                raise _not_s3(self.uri + key) from error
            else:
                version = response.get("VersionId")
                return Content(data, _etag(response, self.uri + key), None if version == "null" else version)


def _s3_client() -> Any:
    """A client, which threads may share; its retries are botocore's, with backoff and jitter."""
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise UsageError(
            "s3://: boto3 is not installed; install the extra: pip install '.[job]' in the project's folder"
        ) from error
    config = Config(retries={"mode": "standard"}, max_pool_connections=S3_CONNECTIONS)
    try:
        return boto3.session.Session().client("s3", config=config)
    except (BotoCoreError, ValueError) as error:  # a malformed endpoint is a ValueError
        raise StorageError(f"s3://: the AWS settings cannot be used: {error}; check AWS_* and the profile") from error


def _etag(answer: Mapping[str, Any], uri: str) -> str:
    """The ETag that an answer or a line of a listing carries: HTTP quotes it, some servers list it bare."""
    if "ETag" not in answer:
        raise _not_s3(uri)
    return str(answer["ETag"]).strip('"')


def _not_s3(uri: str) -> StorageError:
    """A proxy's login page, a web server, ...: it may well say 200."""
    return StorageError(f"{uri}: the answer is not that of an S3 server; check AWS_ENDPOINT_URL and any proxy")


def _item_error(error: ClientError, uri: str) -> ItemError | StorageError:
    """What a refused GET says: something of this one object, or of the store."""
    match error.response["Error"].get("Code"):
        case "NoSuchKey":
            return ItemError("missing")
        # Bad credentials have codes of their own: InvalidAccessKeyId, ExpiredToken, ... InvalidObjectState is an
        # archived object: it is there, and may not be read until it is restored.
        case "AccessDenied" | "InvalidObjectState":
            return ItemError("forbidden")
        # The key that encrypts this object is out of use. Other KMS codes speak of limits and outages, which pass.
        case (
            "KMS.AccessDeniedException"
            | "KMS.DisabledException"
            | "KMS.InvalidKeyUsageException"
            | "KMS.KMSInvalidStateException"
            | "KMS.NotFoundException"
        ):
            return ItemError("forbidden")
        case "PreconditionFailed" | "412":
            return ItemError("changed")
        case _:
            return _refused(uri, error)


def _refused(uri: str, error: ClientError) -> StorageError:
    code = error.response["Error"].get("Code", "unknown")
    advice = {
        "NoSuchBucket": "the bucket does not exist; check its name, the region and AWS_ENDPOINT_URL",
        "AccessDenied": "access denied; check the policy of the bucket and of the role",
        "InvalidAccessKeyId": "wrong credentials; check AWS_ACCESS_KEY_ID or the profile",
        "SignatureDoesNotMatch": "wrong credentials; check AWS_SECRET_ACCESS_KEY or the profile",
        "ExpiredToken": "the credentials have expired; renew them and run again",
    }
    return StorageError(f"{uri}: {advice.get(code, 'S3 refused the request; run again')} ({code})")


def _unreachable(uri: str, error: Exception) -> StorageError:
    reason = " ".join(str(error).split())
    return StorageError(f"{uri}: S3 cannot be used: {reason}; check the network and the AWS settings, then run again")


@contextlib.contextmanager
def _storage_errors(uri: str) -> Iterator[None]:
    """Turn botocore's errors into ours, where no single image is at fault."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        raise _refused(uri, error) from error
    except BotoCoreError as error:
        raise _unreachable(uri, error) from error
    except ResponseParserError as error:
        raise _not_s3(uri) from error
