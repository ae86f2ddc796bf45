"""latest.json: the one object outside OUTPUT, which names the valid run that was planned last."""

from __future__ import annotations

from pydantic import ValidationError

from jobs.errors import StorageError, UsageError
from jobs.finish import MANIFEST, parse_manifest
from jobs.manifest import Latest, sha256, summary
from jobs.storage import Store, split_uri


class LatestPointer:
    """The object at `uri`; opened before a run's work, so that a wrong URI costs nothing."""

    def __init__(self, uri: str, source_uri: str, output: Store) -> None:
        """Raises UsageError when the object lies inside INPUT or OUTPUT, or is there and is something else."""
        self._store, self._key = split_uri(uri)
        self._output = output
        self.uri = self._store.uri + self._key
        for name, place in (("INPUT", source_uri), ("OUTPUT", output.uri)):
            if self.uri.startswith(place):
                raise UsageError(f"--latest {self.uri} lies inside {name} {place}; choose a place outside")
        self._read()

    def move(self) -> str | None:
        """Let the object name the manifest in OUTPUT, or say why it stays; raises ValueError for a rejected run.

        Two runs that end in the same instant both read before they write: then the last to write is named.
        """
        stored = self._output.read(MANIFEST)
        if stored is None:
            raise StorageError(f"{self._output.uri}{MANIFEST}: gone since it was published; run again")
        manifest = parse_manifest(self._output, stored)
        if manifest.status != "valid":
            raise ValueError(f"run {manifest.run} is {manifest.status}")
        if not manifest.images:
            return "this run has no images"
        named = self._read()
        # Both are UTC to the second, written alike, so that their order as text is that of time.
        if named is not None and named.planned_at > manifest.planned_at:
            return f"it names run {named.run}, planned later ({named.planned_at})"
        latest = Latest(
            run=manifest.run,
            planned_at=manifest.planned_at,
            manifest=self._output.uri + MANIFEST,
            sha256=sha256(stored),
        )
        self._store.write(self._key, latest.pretty())
        return None

    def _read(self) -> Latest | None:
        data = self._store.read(self._key)
        if data is None:
            return None
        try:
            return Latest.model_validate_json(data)
        except ValidationError as error:
            raise UsageError(
                f"--latest {self.uri}: not a latest.json: {summary(error)}; remove it, or name another file"
            ) from error
