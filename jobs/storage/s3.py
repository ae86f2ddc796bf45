"""Reads and writes an S3 prefix with boto3."""

from __future__ import annotations

import contextlib
import mimetypes
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jobs.errors import ItemError, StorageError, UsageError
from jobs.storage.s3_listing import list_in_sequence, list_keys, parse_keys
from jobs.storage.store import Content, Entry, ImageVersion

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

# Tries of a request in all, unless AWS_MAX_ATTEMPTS or the profile says otherwise. When one try in
# five fails, one request in 400,000 fails all of them.
ATTEMPTS = 8
# S3 answers within two seconds even when it is slow. A connection that is silent for longer is lost.
TIMEOUT_SECONDS = 10.0
# An answer that lacks what every S3 server sends may have been cut on its way, so it is asked for again; the login page
# of a proxy comes every time, so tries end after these.
GARBLED_ATTEMPTS = 5
# The pause between tries doubles each time up to this, with full jitter.
LONGEST_PAUSE_SECONDS = 20.0
# Errors that pass, besides every status from 500 on.
PASSING = frozenset({
    "BandwidthLimitExceeded", "InternalError", "KMS.DependencyTimeoutException", "KMS.KMSInternalException",
    "KMS.ThrottlingException", "RequestLimitExceeded", "RequestTimeout", "ServiceUnavailable", "SlowDown",
    "Throttling", "ThrottlingException", "TooManyRequestsException",
})  # fmt: skip
# Bytes of a download that are held in memory.
DOWNLOAD_BYTES = 2**20
# At least as many connections as the worker opens at once, so that none waits for another.
CONNECTIONS = 48

# Directory buckets and their access points list in another order, and only from the beginning.
UNSORTED = ("--x-s3", "--xa-s3")

T = TypeVar("T")


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
        self._client, self._attempts = _s3_client()

    def list(self) -> Iterator[Entry]:
        """Every object below the prefix, however many pages the listing has; a long one is listed in parallel."""
        self._client.meta.events.register("before-parse.s3.ListObjectsV2", parse_keys, unique_id="boxcar-keys")
        listed = list_in_sequence if self.bucket.endswith(UNSORTED) else list_keys
        with contextlib.closing(listed(self._list_page, self.prefix, self.uri)) as keys:
            for found in keys:
                if "ETag" not in found:
                    raise _not_s3(self.uri)
                # Some servers have no ETags, and list an empty one.
                etag = _unquoted(found["ETag"]) or None
                yield Entry(found["Key"].removeprefix(self.prefix), found["Size"], etag)

    def _list_page(self, **options: Any) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            page: dict[str, Any] = self._client.list_objects_v2(Bucket=self.bucket, **options)
            if "IsTruncated" not in page:  # other well-formed XML would count as an empty listing
                raise _GarbledAnswer
            return page

        with _storage_errors(self.uri):
            return self._tried(self.uri, ask)

    def fetch(self, image: ImageVersion) -> Content:
        """The version of the listing; see Store."""
        from botocore.exceptions import ClientError

        # Without an ETag in the plan, any version is accepted.
        condition: dict[str, Any] = {"IfMatch": f'"{image.etag}"'} if image.etag else {}
        try:
            content = self._get(image.key, **condition)
        except ClientError as error:
            raise _item_error(error, self.uri + image.key) from error
        # Not every server knows If-Match, and not every plan has the ETag.
        if (image.etag and content.etag != image.etag) or len(content.data) != image.size:
            raise ItemError("changed")
        return content

    def read(self, key: str) -> bytes | None:
        """See Store."""
        content = self.read_version(key)
        return None if content is None else content.data

    def download(self, key: str, path: Path) -> bool:
        """Write an object of any size to a file; False where there is none. OSErrors of the file are not handled."""

        def save(body: Any) -> bytes:
            with path.open("wb") as file:  # from the beginning, also after a download broke off
                for piece in body.iter_chunks(DOWNLOAD_BYTES):
                    file.write(piece)
            return b""

        return self._find(key, save) is not None

    def read_version(self, key: str) -> Content | None:
        """See Store."""
        return self._find(key)

    def _find(self, key: str, take: Callable[[Any], bytes] | None = None) -> Content | None:
        """One object, or None where there is none; see `_get`."""
        from botocore.exceptions import ClientError

        with _storage_errors(self.uri + key):
            try:
                return self._get(key, take)
            except ClientError as error:
                if error.response["Error"].get("Code") == "NoSuchKey":
                    return None
                raise

    def write(self, key: str, data: bytes) -> None:
        """One PUT, which S3 makes visible as a whole."""
        with _storage_errors(self.uri + key):
            self._put(key, data)

    def swap(self, key: str, data: bytes, etag: str | None) -> bool:
        """A conditional PUT; see Store. On a server that does not know it, a plain PUT: the last one of
        two at once stays."""
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": f'"{etag}"'}
        with _storage_errors(self.uri + key):
            try:
                self._put(key, data, **condition)
            except ClientError as error:
                match error.response["Error"].get("Code"):
                    # 409: another conditional PUT is under way; 404: what was to be replaced is gone.
                    case "PreconditionFailed" | "412" | "ConditionalRequestConflict" | "NoSuchKey":
                        return False
                    case "NotImplemented":
                        self._put(key, data)
                    case _:
                        raise
        return True

    def _put(self, key: str, data: bytes, **condition: str) -> None:
        def ask() -> None:
            answer = self._client.put_object(
                Bucket=self.bucket, Key=self.prefix + key, Body=data, ContentType=_content_type(key), **condition
            )
            if "ETag" not in answer:  # nothing says that the bytes were stored
                raise _GarbledAnswer

        self._tried(self.uri + key, ask)

    def _get(self, key: str, take: Callable[[Any], bytes] | None = None, **condition: str) -> Content:
        """Get one object. ClientErrors are not handled: the caller knows what they mean.

        take: reads the body in pieces; without it the whole body is held.
        """
        from botocore.exceptions import BotoCoreError

        def ask() -> Content:
            answer = self._client.get_object(Bucket=self.bucket, Key=self.prefix + key, **condition)
            if "ETag" not in answer or "ContentLength" not in answer:  # without a length a cut body looks whole
                raise _GarbledAnswer
            data = take(answer["Body"]) if take else answer["Body"].read()
            version = answer.get("VersionId")
            return Content(data, _unquoted(answer["ETag"]), None if version == "null" else version)

        try:
            return self._tried(self.uri + key, ask)
        except BotoCoreError as error:
            raise _unreachable(self.uri + key, error) from error

    def _tried(self, uri: str, ask: Callable[[], T]) -> T:
        """The answer of `ask`, which is called again after a pause when that may help.

        Only this function retries. botocore would stop after one try when a quota for the whole process is used up,
        which many SlowDown errors do, and it does not retry a body that breaks off.
        """
        from botocore.exceptions import (
            ClientError,
            ConnectionError,
            FlexibleChecksumError,
            HTTPClientError,
            IncompleteReadError,
        )
        from botocore.parsers import ResponseParserError
        from urllib3.exceptions import HTTPError

        broken = (ConnectionError, HTTPClientError, IncompleteReadError, FlexibleChecksumError, HTTPError)

        attempt = 1
        while True:
            try:
                return ask()
            except broken as error:
                if attempt >= self._attempts:
                    raise _unreachable(uri, error) from error
            except (_GarbledAnswer, ResponseParserError) as error:
                if attempt >= min(self._attempts, GARBLED_ATTEMPTS):
                    raise _not_s3(uri) from error
            except ClientError as error:
                if attempt >= min(self._attempts, _tries(error)):
                    raise
            time.sleep(random.uniform(0, min(2.0 ** (attempt - 1), LONGEST_PAUSE_SECONDS)))
            attempt += 1


def _tries(error: ClientError) -> int:
    """The number of tries for a request that was refused in this way."""
    code = error.response["Error"].get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in PASSING or status == 429 or status >= 500:
        return sys.maxsize
    # An error with an HTTP number alone: its body was probably lost, so try again. 412 normally has no body.
    return GARBLED_ATTEMPTS if code.isdigit() and code != "412" else 1


class _GarbledAnswer(Exception):
    """An answer lacks what every answer of S3 to this request has."""


def _s3_client() -> tuple[Any, int]:
    """A client, which threads may share and which tries once, and the number of tries for a request."""
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
        from botocore.session import get_session
    except ImportError as error:
        raise UsageError(
            "s3://: boto3 is not installed; install the extra: pip install '.[job]' in the project's folder"
        ) from error
    try:
        settings = get_session()
        attempts = settings.get_config_variable("max_attempts") or ATTEMPTS
        config = Config(
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=CONNECTIONS,
            connect_timeout=TIMEOUT_SECONDS,
            read_timeout=TIMEOUT_SECONDS,
        )
        return boto3.session.Session(botocore_session=settings).client("s3", config=config), attempts
    except (BotoCoreError, ValueError) as error:  # a malformed endpoint is a ValueError
        raise StorageError(f"s3://: the AWS settings cannot be used: {error}; check AWS_* and the profile") from error


def _content_type(key: str) -> str:
    """The media type of a key, so that a browser shows a page in place of saving it."""
    kind, _ = mimetypes.guess_type(key)
    return "text/html; charset=utf-8" if kind == "text/html" else kind or "application/octet-stream"


def _unquoted(etag: str) -> str:
    """The ETag without quotes: HTTP quotes ETags, but some servers list them without."""
    return etag.strip('"')


def _not_s3(uri: str) -> StorageError:
    """An error for an answer that is not S3's: a proxy's login page, for example, may have status 200."""
    return StorageError(f"{uri}: the answer is not that of an S3 server; check AWS_ENDPOINT_URL and any proxy")


def _item_error(error: ClientError, uri: str) -> ItemError | StorageError:
    """The error for a GET that was refused: either one of this object, or one of the store."""
    match error.response["Error"].get("Code"):
        case "NoSuchKey":
            return ItemError("missing")
        # Bad credentials have codes of their own: InvalidAccessKeyId, ExpiredToken, ... InvalidObjectState is an
        # archived object: it is there, and may not be read until it is restored.
        # InvalidRequest: it is encrypted with a key that every request must bring along (SSE-C).
        case "AccessDenied" | "InvalidObjectState" | "InvalidRequest":
            return ItemError("forbidden")
        # The key that encrypts this object is out of use. Other KMS codes mean temporary limits or outages.
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
    """Turn botocore's errors into StorageErrors, where no single image is the cause."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _refused(uri, error) from error
    except BotoCoreError as error:
        raise _unreachable(uri, error) from error
