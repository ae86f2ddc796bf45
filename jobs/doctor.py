"""Tries, within seconds, everything that a run needs of its INPUT, its OUTPUT and its artifact."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any, Literal

from detector.common.errors import DetectorError, ImageError
from detector.runtime.detector import Image, open_detector
from detector.runtime.images import MAX_PIXELS, Pixels
from detector.runtime.reading import Reading
from jobs.budget import Budget
from jobs.decoding.decoders import Decoders
from jobs.errors import ItemError, JobError, StorageError
from jobs.formats import ERRORS, Filters
from jobs.listing import Selection
from jobs.model_source import named_model
from jobs.plan import IMAGE_EXTENSIONS, PLAN, require_apart
from jobs.rules.review import check_installed
from jobs.storage import Entry, S3Store, Store
from jobs.storage.s3_errors import CREDENTIAL_ERRORS, no_credentials, storage_errors

# Objects of the listing among which an image is looked for: ten pages of S3.
MOST_LISTED = 10_000
# S3 refuses requests whose time differs from its own by more than 15 minutes. A minute is worth a note.
MOST_SKEW_SECONDS = 60.0


@dataclass(frozen=True)
class Finding:
    """The result of one check; `skip`: it needs another check that failed."""

    verdict: Literal["ok", "note", "fail", "skip"]
    check: str
    text: str


class _Note(Exception):
    """Something that a person should know, and that ends no run."""


class _Skip(Exception):
    """This check needs another one that failed."""


class Doctor:
    """Checks INPUT, OUTPUT and the artifact, one after the other; each check returns what it found as a text."""

    def __init__(self, source: Callable[[], Store], output: Callable[[], Store], model: str | None) -> None:
        """source, output: open the stores; model: as --model names it."""
        self._open = {"INPUT": source, "OUTPUT": output}
        self._model = model
        self._stores: dict[str, Store] = {}
        self._headers: dict[str, str] = {}  # of the newest answer of S3
        self._image: Entry | None = None
        self._pixels: Pixels | None = None
        self._is_written = False
        # A name that nobody else has, so that nothing is written over.
        self._key = f"boxcar-doctor-{uuid.uuid4().hex[:8]}.txt"

    def findings(self) -> Iterator[Finding]:
        """The result of every check in turn. One that fails does not end the others."""
        checks: tuple[tuple[str, Callable[[], str]], ...] = (
            ("INPUT", lambda: self._opened("INPUT")),
            ("list", self._listed),
            ("read", self._read),
            ("OUTPUT", lambda: self._opened("OUTPUT")),
            ("write", self._written),
            ("conditional write", self._conditional),
            ("checksums", self._checksums),
            ("remove", self._removed),
            ("clock", self._clock),
            ("artifact", self._detected),
            ("rules", _rules),
        )
        for check, call in checks:
            started = time.perf_counter()
            try:
                text = call()
                yield Finding("ok", check, f"{text} ({time.perf_counter() - started:.1f} s)")
            except _Skip as error:
                yield Finding("skip", check, str(error))
            except _Note as error:
                yield Finding("note", check, str(error))
            except (JobError, DetectorError) as error:
                yield Finding("fail", check, str(error))

    def _opened(self, name: str) -> str:
        store = self._open[name]()
        self._stores[name] = store
        if not isinstance(store, S3Store):
            return f"the folder {store.uri}"
        store.attempts = 1  # a store that is not there shall be known at once
        store.client.meta.events.register("after-call.s3", self._note_headers)
        region, endpoint = store.client.meta.region_name, store.client.meta.endpoint_url
        return f"{store.uri} in region {region} at {endpoint}, with {_credentials(store)}"

    def _note_headers(self, parsed: dict[str, Any], **_: Any) -> None:
        self._headers = parsed.get("ResponseMetadata", {}).get("HTTPHeaders", self._headers)

    def _store(self, name: str) -> Store:
        if name not in self._stores:
            raise _Skip(f"{name} cannot be opened")
        return self._stores[name]

    def _listed(self) -> str:
        source = self._store("INPUT")
        selection = Selection(Filters(extensions=IMAGE_EXTENSIONS))
        seen = 0
        for entry in islice(source.list(), MOST_LISTED):
            seen += 1
            if next(selection.images([entry]), None) is not None and self._image is None:
                self._image = entry
        if self._image is not None:
            return f"{selection.counts.images:,} images among the first {seen:,} objects, such as {self._image.key}"
        raise _Note(
            f"{source.uri}: no image among the first {seen:,} objects; check INPUT, or plan others with --extensions"
        )

    def _read(self) -> str:
        if self._image is None:
            raise _Skip("no image was found")
        try:
            content = self._store("INPUT").fetch(self._image)
            with (
                closing(Decoders(Budget(MAX_PIXELS), 1)) as decoders,
                decoders.read(self._image.key, content.decoded(), _whole) as (image, _),
            ):
                self._pixels = image.pixels
        except ItemError as error:
            raise StorageError(f"{self._image.key}: {ERRORS[error.status]}; {error.reason or 'try again'}") from error
        except ImageError as error:
            raise _Note(f"{self._image.key}: its record would say {error.status}: {error}") from error
        height, width = self._pixels.shape[:2]
        return f"{self._image.key}: {len(content.data):,} bytes, {width} x {height} pixels"

    def _written(self) -> str:
        output = self._store("OUTPUT")
        if "INPUT" in self._stores:
            require_apart(self._stores["INPUT"], output)
        output.read(PLAN)  # a run asks first for objects that are not there, and must not be denied
        output.write(self._key, b"written by boxcar doctor\n")
        if output.read(self._key) != b"written by boxcar doctor\n":
            raise StorageError(f"{output.uri}{self._key}: what was written is not what is read; check the store")
        self._is_written = True
        return f"{output.uri}{self._key} was written and read"

    def _conditional(self) -> str:
        output = self._store("OUTPUT")
        if not self._is_written:
            raise _Skip("OUTPUT cannot be written")
        if output.swap(self._key, b"", None):
            raise _Note(
                f"{output.uri}: the store ignores or refuses conditional writes, so that of two commands which publish "
                "at once the last one wins; run one at a time"
            )
        return "of two commands at once, one wins"

    def _checksums(self) -> str:
        output = self._store("OUTPUT")
        if not self._is_written or not isinstance(output, S3Store):
            raise _Skip("OUTPUT is a folder" if self._is_written else "OUTPUT cannot be written")
        output.write(self._key, b"")
        if not any(name.startswith("x-amz-checksum-") for name in self._headers):
            raise _Note(
                f"{output.uri}: the server does not confirm the checksums of writes; they are sent all the same"
            )
        return "the server checks what is written"

    def _removed(self) -> str:
        output = self._store("OUTPUT")
        if not self._is_written:
            raise _Skip("OUTPUT cannot be written")
        try:
            output.remove(self._key)
        except StorageError as error:
            raise _Note(f"{output.uri}{self._key} stays there, which harms nothing: {error}") from error
        return f"{self._key} was removed"

    def _clock(self) -> str:
        if "date" not in self._headers:
            raise _Skip("no server has said what time it is")
        skew = (datetime.now(UTC) - parsedate_to_datetime(self._headers["date"])).total_seconds()
        if abs(skew) > MOST_SKEW_SECONDS:
            raise _Note(f"this machine's clock differs from the server's by {skew:.0f} s; set the clock (NTP)")
        return f"it differs from the server's by {abs(skew):.0f} s"

    def _detected(self) -> str:
        with named_model(self._model) as model:
            detector = open_detector(model.folder)
        name = f"{model.artifact.name}, {len(model.artifact.classes)} classes"
        if self._pixels is None:
            return f"{name}: loaded"
        (found,) = detector.detect([Image.whole(self._pixels)]).detections
        return f"{name}: {len(found.labels)} boxes in the image that was read"


def _whole(height: int, width: int) -> Reading:
    return Reading(height, width, None)


def _rules() -> str:
    check_installed()
    return "Great Expectations is installed"


def _credentials(store: S3Store) -> str:
    """Which credentials are used and where they come from, without a secret."""
    import boto3
    from botocore import UNSIGNED
    from botocore.exceptions import BotoCoreError

    if store.client.meta.config.signature_version is UNSIGNED:
        return "no credentials"
    with storage_errors(store.uri):
        try:
            found = boto3.session.Session().get_credentials()
            key = "" if found is None else found.get_frozen_credentials().access_key
        except BotoCoreError:  # some of them are also OSErrors
            raise
        except CREDENTIAL_ERRORS as error:
            raise no_credentials(store.uri, error) from error
    return "no credentials found" if found is None else f"the key ...{key[-4:]} from {found.method}"
