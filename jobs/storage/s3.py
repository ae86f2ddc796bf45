"""Reads and writes an S3 prefix with boto3."""

from __future__ import annotations

import contextlib
import mimetypes
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from detector.common.s3_names import bucket_and_key, is_same_version, unquoted
from jobs.errors import ItemError, StorageError, UsageError
from jobs.storage.s3_errors import (
    CREDENTIAL_ERRORS,
    GARBLED_ATTEMPTS,
    GarbledAnswer,
    error_code,
    is_other_version,
    item_error,
    may_be_unconditional,
    no_credentials,
    not_s3,
    storage_errors,
    tries,
    unreachable,
)
from jobs.storage.s3_listing import list_in_sequence, list_keys, parse_keys
from jobs.storage.store import Content, Entry, ImageVersion

# Tries of a request in all, unless AWS_MAX_ATTEMPTS or the profile says otherwise. When one try in
# five fails, one request in 400,000 fails all of them.
ATTEMPTS = 8
# S3 answers within two seconds even when it is slow. A connection that is silent for longer is lost.
TIMEOUT_SECONDS = 10.0
# The pause between tries doubles each time up to this, with full jitter.
LONGEST_PAUSE_SECONDS = 20.0
# Bytes of a download that are held in memory.
DOWNLOAD_BYTES = 2**20
# At least as many connections as the worker opens at once, so that none waits for another.
CONNECTIONS = 48

# Directory buckets and their access points list in another order, and only from the beginning.
UNSORTED = ("--x-s3", "--xa-s3")
# Signs of a pattern, in a prefix below which nothing lies.
PATTERN = re.compile(r"[*?\[{]")
# Endpoints that refused a conditional write. One refusal is enough to know that they support none.
_UNCONDITIONAL: set[str] = set()

T = TypeVar("T")


class S3Store:
    """An S3 prefix, read as a folder: `s3://bucket/a` holds `a/b.jpg`, not `ab.jpg`.

    Endpoint, region, credentials and profiles come from the standard AWS settings.
    """

    def __init__(self, uri: str, *, request_payer: bool = False, no_sign_request: bool = False) -> None:
        """request_payer: pay for requests to a requester-pays bucket; no_sign_request: send no credentials, as public
        buckets allow."""
        self.bucket, prefix = bucket_and_key(uri)
        if not self.bucket:
            raise UsageError(f"{uri}: names no bucket; give s3://bucket/prefix")
        self.prefix = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        self.uri = f"s3://{self.bucket}/{self.prefix}"
        self._payer: dict[str, Any] = {"RequestPayer": "requester"} if request_payer else {}
        self.client, self.attempts = _s3_client(self.uri, no_sign_request)

    def list(self, *, hidden: bool = False) -> Iterator[Entry]:
        """Every object below the prefix, however many pages the listing has; a long one is listed in parallel."""
        self.client.meta.events.register("before-parse.s3.ListObjectsV2", parse_keys, unique_id="boxcar-keys")
        listed = list_in_sequence if self.bucket.endswith(UNSORTED) else list_keys
        found = None
        with contextlib.closing(listed(self._list_page, self.prefix, self.uri)) as keys:
            for found in keys:
                if "ETag" not in found:
                    raise not_s3(self.uri)
                # Some servers have no ETags, and list an empty one.
                etag = unquoted(found["ETag"]) or None
                yield Entry(found["Key"].removeprefix(self.prefix), found["Size"], etag)
        if found is None:
            self._refuse_other_names()

    def _refuse_other_names(self) -> None:
        """Raise UsageError when the URI is a pattern or names an object: nothing lies below either."""
        if found := PATTERN.search(self.prefix):
            raise UsageError(
                f"{self.uri}: nothing lies there; if it is a pattern, give the prefix before the {found[0]}, and the "
                "pattern with --include"
            )
        name = self.prefix.rstrip("/")
        page = self._list_page(Prefix=name, MaxKeys=1) if name else {}
        if any(found["Key"] == name for found in page.get("Contents", [])):
            raise UsageError(
                f"s3://{self.bucket}/{name}: is an object, not a prefix; give the prefix above it, and its name with "
                "--include"
            )

    def _list_page(self, **options: Any) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            page = self._call("list_objects_v2", **self._payer, **options)
            if "IsTruncated" not in page:  # other well-formed XML would count as an empty listing
                raise GarbledAnswer
            return page

        with storage_errors(self.uri):
            return self._tried(self.uri, ask)

    def fetch(self, image: ImageVersion) -> Content:
        """The version of the listing; see Store."""
        from botocore.exceptions import ClientError

        # Without an ETag in the plan, any version is accepted.
        condition: dict[str, Any] = {"IfMatch": f'"{image.etag}"'} if image.etag else {}
        try:
            try:
                content = self._get(image.key, **self._payer, **condition)
            except ClientError as error:
                # A gateway that changes ETags refuses the condition for every object.
                if not is_other_version(error) or not is_same_version(image.etag, self._etag(image.key)):
                    raise
                content = self._get(image.key, **self._payer)
        except ClientError as error:
            raise item_error(error, self.uri + image.key) from error
        # Not every server knows If-Match, and not every plan has the ETag.
        if image.etag and not is_same_version(image.etag, content.etag):
            raise ItemError("changed", f"planned with ETag {image.etag}, now {content.etag}")
        # A gateway may compress an answer on the way.
        if len(content.data) != image.size and len(content.decoded()) != image.size:
            raise ItemError("changed", f"planned with {image.size} bytes, now {len(content.data)}")
        return Content(content.data, image.etag or content.etag, content.version_id, content.encoding)

    def _etag(self, key: str) -> str | None:
        """The ETag that an object has now; None where there is none."""
        from botocore.exceptions import ClientError

        def ask() -> str | None:
            try:
                return unquoted(self._call("head_object", Key=self.prefix + key, **self._payer).get("ETag", ""))
            except ClientError as error:
                if error_code(error) in ("404", "403"):  # the answer to a HEAD has no body that could be lost
                    return None
                raise

        with storage_errors(self.uri + key):
            return self._tried(self.uri + key, ask)

    def holds(self, key: str) -> bool:
        """See Store."""
        return self._etag(key) is not None

    def require_same(self) -> None:
        """See Store. A bucket that is gone says so itself."""

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

        with storage_errors(self.uri + key):
            try:
                return self._get(key, take)
            except ClientError as error:
                if error_code(error) == "NoSuchKey":
                    return None
                raise

    def write(self, key: str, data: bytes) -> None:
        """One PUT, which S3 makes visible as a whole."""
        with storage_errors(self.uri + key):
            self._put(key, data)

    def swap(self, key: str, data: bytes, etag: str | None) -> bool:
        """A conditional PUT; see Store. On a server that does not know it, a plain PUT after a look: of two at once,
        the last one stays."""
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": f'"{etag}"'}
        endpoint = self.client.meta.endpoint_url
        with storage_errors(self.uri + key):
            if endpoint in _UNCONDITIONAL:
                found = self.read_version(key)
                if (None if found is None else found.etag) != etag:
                    return False
                condition = {}
            try:
                self._put(key, data, **condition)
            except ClientError as error:
                # 409: another conditional PUT is under way; 404: what was to be replaced is gone.
                if is_other_version(error) or error_code(error) in ("ConditionalRequestConflict", "NoSuchKey"):
                    return False
                if not may_be_unconditional(error):
                    raise
                self._put(key, data)  # if the condition is not the cause, this raises the same error
                _UNCONDITIONAL.add(endpoint)
        return True

    def remove(self, key: str) -> None:
        """See Store."""
        with storage_errors(self.uri + key):
            self._tried(self.uri + key, lambda: self._call("delete_object", Key=self.prefix + key))

    def _put(self, key: str, data: bytes, **condition: str) -> None:
        def ask() -> None:
            answer = self._call(
                "put_object", Key=self.prefix + key, Body=data, ContentType=_content_type(key), **condition
            )
            if "ETag" not in answer:  # nothing says that the bytes were stored
                raise GarbledAnswer

        self._tried(self.uri + key, ask)

    def _get(self, key: str, take: Callable[[Any], bytes] | None = None, **options: Any) -> Content:
        """Get one object. ClientErrors are not handled: the caller knows what they mean.

        take: reads the body in pieces; without it the whole body is held.
        """
        from botocore.exceptions import BotoCoreError

        def ask() -> Content:
            answer = self._call("get_object", Key=self.prefix + key, **options)
            if "ETag" not in answer or "ContentLength" not in answer:  # without a length a cut body looks whole
                raise GarbledAnswer
            data = take(answer["Body"]) if take else answer["Body"].read()
            version = answer.get("VersionId")
            return Content(
                data,
                unquoted(answer["ETag"]),
                None if version == "null" else version,
                answer.get("ContentEncoding", ""),
            )

        try:
            return self._tried(self.uri + key, ask)
        except BotoCoreError as error:
            raise unreachable(self.uri + key, error) from error

    def _call(self, operation: str, **options: Any) -> dict[str, Any]:
        """Send one request. Errors other than botocore's come from programs and files that give the credentials."""
        from botocore.exceptions import BotoCoreError

        try:
            answer: dict[str, Any] = getattr(self.client, operation)(Bucket=self.bucket, **options)
        except BotoCoreError:  # some of them are also OSErrors
            raise
        except CREDENTIAL_ERRORS as error:
            # botocore looks for the error in the body of a failed answer, which it cannot read if it has a checksum.
            if isinstance(error, AttributeError) and "StreamingChecksumBody" in str(error):
                raise GarbledAnswer from error
            raise no_credentials(self.uri, error) from error
        return answer

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
                if attempt >= self.attempts:
                    raise unreachable(uri, error) from error
            except (GarbledAnswer, ResponseParserError) as error:
                if attempt >= min(self.attempts, GARBLED_ATTEMPTS):
                    raise not_s3(uri) from error
            except ClientError as error:
                if attempt >= min(self.attempts, tries(error)):
                    raise
            time.sleep(random.uniform(0, min(2.0 ** (attempt - 1), LONGEST_PAUSE_SECONDS)))
            attempt += 1


def _s3_client(uri: str, no_sign_request: bool) -> tuple[Any, int]:
    """A client, which threads may share and which tries once, and the number of tries for a request."""
    try:
        import boto3
        from botocore import UNSIGNED
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
        bundle = settings.get_config_variable("ca_bundle")
        if bundle and not os.path.exists(bundle):
            raise StorageError(f"{uri}: AWS_CA_BUNDLE (ca_bundle) names {bundle}, which is not there; correct it")
        config = Config(
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=CONNECTIONS,
            connect_timeout=TIMEOUT_SECONDS,
            read_timeout=TIMEOUT_SECONDS,
            signature_version=UNSIGNED if no_sign_request else None,
        )
        return boto3.session.Session(botocore_session=settings).client("s3", config=config), attempts
    except (BotoCoreError, *CREDENTIAL_ERRORS) as error:  # a malformed endpoint is a ValueError
        raise no_credentials(uri, error) from error


def _content_type(key: str) -> str:
    """The media type of a key, so that a browser shows a page in place of saving it."""
    kind, _ = mimetypes.guess_type(key)
    return "text/html; charset=utf-8" if kind == "text/html" else kind or "application/octet-stream"
