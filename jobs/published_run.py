"""A run that was published: its manifest, its records as a stream, and its artifact's labels."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError

from detector.runtime.label_run import LabelRun
from jobs.errors import IncompleteError, ModelError, UsageError
from jobs.formats import Manifest, OtherSchemaError, PartEntry, Record, decode_lines, parse, sha256, summary
from jobs.storage import Store, open_store, read_ahead

MANIFEST = "manifest.json"
CARD = "model/model.json"


def read_manifest(output: Store) -> Manifest | None:
    """The published manifest in `output`; None where there is none."""
    data = output.read(MANIFEST)
    return None if data is None else parse_manifest(output, data)


def parse_manifest(output: Store, data: bytes) -> Manifest:
    """The manifest whose bytes were read from `output`; raises UsageError."""
    return parse(Manifest, data, output.uri + MANIFEST, "a manifest", "choose another OUTPUT")


def published_records(entry: PartEntry, data: bytes | None) -> list[Record]:
    """The records of a part that the manifest lists, from the bytes at its key.

    Raises ValueError when the bytes are not the published ones; OtherSchemaError, a kind of it, when the records have a
    newer schema version.
    """
    if data is None:
        raise ValueError("missing")
    if sha256(data) != entry.sha256:
        raise ValueError("changed since it was published")
    return decode_lines(Record, data)


class BaselineCounts(BaseModel):
    """The number of test images, and of their detections by label: ten counts each, by the score."""

    images: int
    boxes: dict[str, list[int]]


class _Card(BaseModel):
    """The part of the artifact's description that is needed here, whichever version it has."""

    classes: tuple[str, ...]
    operating_score: float | None = None
    least_score: float = 0.0
    baseline: BaselineCounts | None = None
    label_runs: tuple[LabelRun, ...] = ()


@dataclass(frozen=True)
class PublishedRun:
    """A run whose manifest.json is written, valid or rejected; digest: the SHA-256 of that file."""

    store: Store
    manifest: Manifest
    digest: str

    @classmethod
    def open(cls, output: str) -> PublishedRun:
        """The run in OUTPUT; raises UsageError where none is published."""
        store = open_store(output)
        data = store.read(MANIFEST)
        if data is None:
            raise UsageError(
                f"{store.uri}: no published run here: {MANIFEST} is missing; name a run's OUTPUT, or publish it with: "
                f"boxcar finish {store.uri}"
            )
        return cls(store, parse_manifest(store, data), sha256(data))

    def records(self) -> Generator[Record]:
        """Every record in the plan's order, from parts that are checked against the manifest; a few dozen are held at a
        time.

        Raises IncompleteError when a part is not the one that was published, and UsageError when it is of another
        schema version.
        """
        parts = self.manifest.parts
        with contextlib.closing(read_ahead(self.store, [entry.key for entry in parts])) as found:
            for entry, data in zip(parts, found, strict=True):
                name = self.store.uri + entry.key
                try:
                    records = published_records(entry, data)
                except OtherSchemaError as error:
                    raise UsageError(f"{name}: {error}") from error
                except ValueError as error:
                    raise IncompleteError(
                        f"{name}: {error}; make it again with: boxcar work {self.store.uri}, "
                        f"then: boxcar finish {self.store.uri}"
                    ) from error
                yield from records

    def key(self, record: Record) -> str:
        """The image's key below the run's input."""
        return record.image.removeprefix(self.manifest.input)

    def labels(self) -> list[str]:
        """The artifact's classes in their order, and after them other labels, which only a rejected run can have.

        Raises ModelError when OUTPUT does not hold the artifact's description that made the run.
        """
        classes = self._card().classes
        return [*classes, *(label for label in self.manifest.boxes if label not in classes)]

    def operating_score(self) -> float:
        """The artifact's operating score, from 0 to 1, or the run's least score where the artifact states none.

        Raises ModelError as `labels` does.
        """
        stated = self._card().operating_score
        return self.manifest.min_score if stated is None else stated

    def baseline(self) -> BaselineCounts | None:
        """What the artifact found on its test images; None where it was not measured. Raises ModelError as `labels`
        does."""
        found = self._card().baseline
        return found if found is not None and found.images else None

    def label_runs(self) -> tuple[LabelRun, ...]:
        """The runs whose boxes trained the artifact, as it records them. Raises ModelError as `labels` does."""
        return self._card().label_runs

    def least_counted(self) -> float:
        """The score from which the artifact's baseline counts boxes. Raises ModelError as `labels` does."""
        return self._card().least_score

    def _card(self) -> _Card:
        name = self.store.uri + CARD
        data = self.store.read(CARD)
        if data is None or sha256(data) != self.manifest.lineage.artifact_sha256:
            reason = "missing" if data is None else "not that of the artifact that made the run"
            raise ModelError(f"{name}: {reason}; put the planned artifact back")
        try:
            return _Card.model_validate_json(data, extra="ignore")
        except ValidationError as error:
            raise ModelError(f"{name}: names no classes: {summary(error)}; use a newer boxcar") from error
