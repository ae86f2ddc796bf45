"""Reads published runs of the batch job, as docs/formats.md and its JSON Schema describe them.

Only what a run has published is read: manifest.json, the parts that it lists, and the plan and artifact that it names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from detector.common.errors import AnnotationError
from detector.data.objects import Objects

SCHEMA = 1
OK = "ok"
_MANIFEST, _PLAN, _CARD = "manifest.json", "plan.json", "model/model.json"


class _Versioned(BaseModel):
    version: Literal[1] = Field(alias="schema")


class _Part(BaseModel):
    key: Annotated[str, Field(pattern=r"^boxes/part-\d{7,}\.jsonl$")]
    count: int
    sha256: str


class _Lineage(BaseModel):
    artifact_name: str
    artifact_sha256: str
    plan_sha256: str | None = None


class Manifest(_Versioned):
    """What is read of manifest.json. boxes: the number of boxes of each label, with every class of the artifact."""

    run: str
    status: str
    input: str
    images: int
    min_score: float
    boxes: dict[str, int]
    parts: list[_Part]
    lineage: _Lineage


class Box(BaseModel):
    """One detection: pixels of the upright image, and a score from 0 to 1."""

    label: str
    score: FiniteFloat
    x: FiniteFloat
    y: FiniteFloat
    width: FiniteFloat
    height: FiniteFloat


class Record(_Versioned):
    """One image of a run: its version, its size after the EXIF orientation, and its boxes."""

    image: str
    etag: str | None
    status: str
    width: int | None
    height: int | None
    boxes: list[Box]


class Card(BaseModel):
    """What an artifact states about scores."""

    operating_score: float | None = None
    class_scores: dict[str, float] = {}


class _Access(BaseModel):
    """How the run read its images."""

    request_payer: bool = False
    no_sign_request: bool = False


Content = TypeVar("Content", bound=BaseModel)


@dataclass(frozen=True)
class PublishedRun:
    """A run with a manifest. place: its OUTPUT, without a slash at the end; digest: the SHA-256 of manifest.json."""

    place: str
    manifest: Manifest
    digest: str
    objects: Objects

    @classmethod
    def open(cls, place: str, *, take_rejected: bool = False) -> PublishedRun:
        """Return the run in OUTPUT, a folder or an S3 prefix.

        Raises AnnotationError where none is published, its format is another one, or a rule has rejected it.
        """
        place = place.rstrip("/")
        objects = Objects()
        where = f"{place}/{_MANIFEST}"
        data = objects.read(where)
        if data is None:
            raise AnnotationError(f"{where}: is missing: name the OUTPUT of a published run (fetch.sources: runs)")
        manifest = _parse(Manifest, data, where)
        if manifest.status != "valid" and not take_rejected:
            raise AnnotationError(
                f"{place}: this run was published as {manifest.status}: quality/validation.json says why; correct the "
                "cause and run again, or state `take_rejected: true`"
            )
        return cls(place, manifest, hashlib.sha256(data).hexdigest(), objects)

    def records(self) -> Iterator[Record]:
        """Yield the records in the run's order; one part is in memory at a time.

        Raises AnnotationError where a part is not the one that was published, or is not in the format.
        """
        for part in self.manifest.parts:
            where = f"{self.place}/{part.key}"
            lines = self._published(part.key, part.sha256).split(b"\n")[:-1]
            if len(lines) != part.count:
                raise AnnotationError(f"{where}: has {len(lines)} records, and the manifest says {part.count}")
            for number, line in enumerate(lines, start=1):
                yield _parse(Record, line, f"{where}: line {number}")

    @cached_property
    def card(self) -> Card:
        """What the artifact that made the run states about scores. Raises AnnotationError if it is not there."""
        return _parse(Card, self._published(_CARD, self.manifest.lineage.artifact_sha256), f"{self.place}/{_CARD}")

    def images(self) -> Objects:
        """Return the reader of the run's images, which asks for them as the run did. Raises AnnotationError."""
        digest = self.manifest.lineage.plan_sha256
        if digest is None:  # of a run before version 0.2
            return self.objects
        access = _parse(_Access, self._published(_PLAN, digest), f"{self.place}/{_PLAN}")
        return Objects(request_payer=access.request_payer, no_sign_request=access.no_sign_request)

    def _published(self, key: str, sha256: str) -> bytes:
        where = f"{self.place}/{key}"
        data = self.objects.read(where)
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            reason = "is missing" if data is None else "has changed since it was published"
            raise AnnotationError(f"{where}: {reason}: put the published file back; `boxcar verify` checks all files")
        return data


def _parse(kind: type[Content], data: bytes, where: str) -> Content:
    """Return the content of a file or a line; fields that are not declared are ignored.

    Raises AnnotationError, which says where and what is wrong.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        findings = error.errors(include_url=False)
        # Of another version, other errors mean nothing.
        first = next((finding for finding in findings if finding["loc"] == ("schema",)), findings[0])
        if first["type"] == "literal_error":
            raise AnnotationError(
                f"{where}: schema {first['input']} is not read here, only schema {SCHEMA}: use a newer boxcar"
            ) from error
        place = ".".join(map(str, first["loc"]))
        raise AnnotationError(f"{where}: {place}{': ' if place else ''}{first['msg']}") from error
