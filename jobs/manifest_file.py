"""The published manifest as it lies in a run's OUTPUT."""

from __future__ import annotations

from pydantic import ValidationError

from jobs.errors import UsageError
from jobs.manifest import Manifest, summary
from jobs.storage import Store

MANIFEST = "manifest.json"


def read_manifest(output: Store) -> Manifest | None:
    """The published manifest in `output`; None where there is none."""
    data = output.read(MANIFEST)
    return None if data is None else parse_manifest(output, data)


def parse_manifest(output: Store, data: bytes) -> Manifest:
    """The manifest whose bytes were read from `output`; raises UsageError."""
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise UsageError(f"{output.uri}{MANIFEST}: not a manifest: {summary(error)}; choose another OUTPUT") from error
