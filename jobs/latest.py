"""latest.json names the valid run that was planned last. It is the only object that is written outside OUTPUT."""

from __future__ import annotations

from jobs.errors import RejectedError, StorageError, UsageError
from jobs.formats import Latest, parse, sha256
from jobs.published_run import MANIFEST, parse_manifest
from jobs.storage import Store, split_uri

# Each try fails only when another run has moved the object in the meantime.
TRIES = 20


class LatestPointer:
    """The object at `uri`. It is opened before a run's work, so that a wrong URI costs nothing."""

    def __init__(self, uri: str, source_uri: str, output: Store) -> None:
        """Raises UsageError when the object lies inside INPUT or OUTPUT, or when another kind of file is there."""
        self._store, self._key = split_uri(uri)
        self._output = output
        self.uri = self._store.uri + self._key
        for name, place in (("INPUT", source_uri), ("OUTPUT", output.uri)):
            if self.uri.startswith(place):
                raise UsageError(f"--latest {self.uri} lies inside {name} {place}; choose a place outside")
        self._read()

    def move(self) -> str | None:
        """Let the object name the manifest in OUTPUT; returns None, or the reason why the object stays as it is.

        When two runs end at the same moment, the one that was planned later is named: each replaces only what it has
        read. Raises RejectedError for a rejected run.
        """
        stored = self._output.read(MANIFEST)
        if stored is None:
            raise StorageError(f"{self._output.uri}{MANIFEST}: gone since it was published; run again")
        manifest = parse_manifest(self._output, stored)
        if manifest.status != "valid":
            raise RejectedError(
                f"{self._output.uri}: published as rejected by another command meanwhile; {self.uri} was kept"
            )
        if not manifest.images:
            return "this run has no images"
        latest = Latest(
            run=manifest.run,
            planned_at=manifest.planned_at,
            manifest=self._output.uri + MANIFEST,
            sha256=sha256(stored),
        )
        for _ in range(TRIES):
            named, etag = self._read()
            # Both times are written in the same way, in UTC to the second, so they compare as text.
            if named is not None and named.planned_at > manifest.planned_at:
                return f"it names run {named.run}, planned later ({named.planned_at})"
            if named == latest or self._store.swap(self._key, latest.pretty(), etag):
                return None
        raise StorageError(f"{self.uri}: changed by others at every one of {TRIES} tries; run again")

    def _read(self) -> tuple[Latest | None, str | None]:
        """What the object holds, and its version."""
        content = self._store.read_version(self._key)
        if content is None:
            return None, None
        where = f"--latest {self.uri}"
        return parse(Latest, content.data, where, "a latest.json", "remove it, or name another file"), content.etag


def named_digest(uri: str, output: Store) -> str:
    """The SHA-256 of the manifest in `output`, as the latest.json at `uri` states it; raises UsageError."""
    store, key = split_uri(uri)
    data = store.read(key)
    if data is None:
        raise UsageError(f"--latest {uri}: not there; give the file that the run was published with, or --sha256")
    latest = parse(Latest, data, f"--latest {uri}", "a latest.json", "name another file")
    if latest.manifest != output.uri + MANIFEST:
        raise UsageError(f"--latest {uri}: names {latest.manifest}; give --sha256 with the digest that was noted")
    return latest.sha256
