"""The published manifest as it lies in a run's OUTPUT, and the parts that it lists."""

from __future__ import annotations

from jobs.formats import Manifest, PartEntry, Record, decode_lines, parse, sha256
from jobs.storage import Store

MANIFEST = "manifest.json"


def read_manifest(output: Store) -> Manifest | None:
    """The published manifest in `output`; None where there is none."""
    data = output.read(MANIFEST)
    return None if data is None else parse_manifest(output, data)


def parse_manifest(output: Store, data: bytes) -> Manifest:
    """The manifest whose bytes were read from `output`; raises UsageError."""
    return parse(Manifest, data, output.uri + MANIFEST, "a manifest", "choose another OUTPUT")


def published_records(entry: PartEntry, data: bytes | None) -> list[Record]:
    """The records of a part that the manifest lists, from what lies at its key; raises ValueError when they are not
    those that were published, and of these OtherSchemaError when they are of another schema version."""
    if data is None:
        raise ValueError("missing")
    if sha256(data) != entry.sha256:
        raise ValueError("changed since it was published")
    return decode_lines(Record, data)
