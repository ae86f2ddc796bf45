"""Reads files and S3 objects by name, and downloads images in the version that a run has seen."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from detector.common.content_coding import unpacked
from detector.common.errors import ArchiveError
from detector.common.files import replaced
from detector.common.s3_names import bucket_and_key, is_same_version

# Images that are asked for at once: S3 answers after some 50 ms.
AT_ONCE = 16
# Tries of a request, with growing pauses between them, unless AWS_MAX_ATTEMPTS or the profile says otherwise.
_ATTEMPTS = 8
# Tries of a download whose connection breaks after S3 has answered, which botocore does not repeat.
_DOWNLOADS = 3
_GONE = frozenset({"NoSuchKey", "NoSuchBucket", "404"})
_DENIED = frozenset({"AccessDenied", "403"})


class LeftOut(Exception):
    """An image cannot be used; the text is the reason, in the words of the batch job's statuses."""


class _Object(NamedTuple):
    data: bytes
    etag: str | None
    encoding: str


class Objects:
    """Paths of this machine and s3:// names; may be used from several threads.

    Endpoint, region and credentials come from the standard AWS settings.
    """

    def __init__(self, *, request_payer: bool = False, no_sign_request: bool = False) -> None:
        """request_payer: pay for requests to a requester-pays bucket; no_sign_request: send no credentials."""
        self._payer = {"RequestPayer": "requester"} if request_payer else {}
        self._no_sign_request = no_sign_request
        self._made: Any = None
        self._lock = threading.Lock()

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file or an object, or None where there is none. Raises ArchiveError."""
        if name.startswith("s3://"):
            from botocore.exceptions import ClientError

            try:
                return self._get(name).data
            except ClientError as error:
                if _code(error) in _GONE:
                    return None
                raise ArchiveError(f"{name}: {error}") from error
        try:
            return Path(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ArchiveError(f"{name}: cannot be read: {error.strerror}; check its permissions") from error

    def fetch(self, name: str, etag: str | None, cache: Path) -> Path:
        """Return the path of an image in the version that a run has seen; etag: of a file its MD5, of an object its
        ETag, None for any version. An object is downloaded into `cache` once.

        Raises LeftOut where the image is missing, forbidden or changed, and ArchiveError where S3 does not answer.
        """
        if name.startswith("s3://"):
            version = hashlib.sha256(f"{name}\n{etag}".encode()).hexdigest()
            path = cache / version[:2] / f"{version}{PurePosixPath(name).suffix[:9]}"
            if etag is None or not path.exists():
                data = self._version(name, etag)
                with replaced(path) as file:
                    file.write(data)
            return path
        try:
            data = Path(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise LeftOut("missing") from error
        except OSError as error:
            raise LeftOut("forbidden") from error
        if etag is not None and hashlib.md5(data, usedforsecurity=False).hexdigest() != etag:
            raise LeftOut("changed")
        return Path(name)

    def _version(self, name: str, etag: str | None) -> bytes:
        """Return the bytes of an object, if its ETag is the one that is wanted."""
        from botocore.exceptions import ClientError

        try:
            found = self._get(name)
            if etag is not None and not is_same_version(etag, found.etag):
                raise LeftOut("changed")
            return unpacked(found.data, found.encoding)
        except OverflowError as error:
            raise LeftOut("too_large") from error
        except ClientError as error:
            if _code(error) in _GONE | _DENIED:
                raise LeftOut("missing" if _code(error) in _GONE else "forbidden") from error
            raise ArchiveError(f"{name}: {error}") from error

    def _get(self, name: str) -> _Object:
        """Return an object. Raises ClientError, whose meaning the caller knows, and ArchiveError for all else."""
        from botocore.exceptions import BotoCoreError

        bucket, key = bucket_and_key(name)
        attempts = _DOWNLOADS
        while True:
            attempts -= 1
            answered = False
            try:
                answer = self._client().get_object(Bucket=bucket, Key=key, **self._payer)
                answered = True
                return _Object(answer["Body"].read(), answer.get("ETag"), answer.get("ContentEncoding", ""))
            except (BotoCoreError, OSError, ValueError) as error:  # a malformed bucket or endpoint is a ValueError
                if not answered or not attempts:
                    raise ArchiveError(
                        f"{name}: {error}; check the name, the network and the AWS settings, then run again"
                    ) from error

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                import boto3  # slow to import, and needed for s3:// only
                from botocore import UNSIGNED
                from botocore.config import Config
                from botocore.session import get_session

                settings = get_session()
                attempts = settings.get_config_variable("max_attempts") or _ATTEMPTS
                config = Config(
                    retries={"mode": "standard", "total_max_attempts": attempts},
                    max_pool_connections=AT_ONCE,
                    signature_version=UNSIGNED if self._no_sign_request else None,
                )
                self._made = boto3.session.Session(botocore_session=settings).client("s3", config=config)
            return self._made


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
