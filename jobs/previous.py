"""Finds the previous run, and copies the records of unchanged images from it."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import PurePosixPath

from jobs.errors import UsageError
from jobs.formats import Latest, Manifest, PartEntry, Plan, PlannedImage, Record, RunProfile, Since, parse, sha256
from jobs.published_run import MANIFEST, parse_manifest, published_records
from jobs.storage import Store, open_store, split_uri

PROFILE, PREVIOUS_PROFILE = "quality/profile.json", "quality/previous-profile.json"
# These statuses follow from the image's bytes. The others depend on permissions or on the moment: such images are read
# again.
COPIED = frozenset({"ok", "empty", "unreadable", "too_large"})
# Both plans are sorted, so each part is needed once, in order. Two are held, because one part of this plan may reach
# over the border of two.
PARTS_HELD = 2


def find_previous(given: str) -> Since:
    """The run that `given`, an OUTPUT or a latest.json, names; without `output` when the latest.json is not there yet.

    Raises UsageError when that run is not published as valid.
    """
    if given.endswith(".json"):
        found = _read_latest(given)
        if found is None:
            return Since(given=given)
        store, key = split_uri(found.manifest)
        data = store.read(key)
        if data is None or sha256(data) != found.sha256:
            reason = "missing" if data is None else "not the manifest that was published"
            raise UsageError(f"--since {given}: {found.manifest} is {reason}; leave --since out, or name another run")
    else:
        store = open_store(given)
        data = store.read(MANIFEST)
        if data is None:
            raise UsageError(f"--since {given}: no published run there: {store.uri}{MANIFEST} is missing; name another")
    manifest = parse_manifest(store, data)
    if manifest.status != "valid":
        raise UsageError(f"--since {given}: that run was published as {manifest.status}; name a valid one")
    return Since(
        given=given,
        output=store.uri,
        run=manifest.run,
        manifest_sha256=sha256(data),
        profile_sha256=manifest.profile_sha256,
    )


def _read_latest(uri: str) -> Latest | None:
    store, key = split_uri(uri)
    data = store.read(key)
    if data is None:
        return None
    return parse(Latest, data, f"--since {uri}", "a latest.json", "name a run's OUTPUT instead")


def has_profile(since: Since) -> bool:
    """Whether the previous run has a profile, as it was published."""
    if since.output is None or since.profile_sha256 is None:
        return False
    data = open_store(since.output).read(PROFILE)
    return data is not None and sha256(data) == since.profile_sha256


def copy_profile(plan: Plan, output: Store) -> None:
    """Copy the profile of the previous run into OUTPUT, so that drift can be measured from it when that run is gone.

    Raises UsageError when it is missing, or is not the one that was published.
    """
    if plan.since is not None and plan.since.profile_sha256 is not None:
        data = output.read(PREVIOUS_PROFILE)
        if data is None or sha256(data) != plan.since.profile_sha256:
            output.write(PREVIOUS_PROFILE, _published_profile(plan.since))


def previous_profile(plan: Plan, output: Store) -> RunProfile | None:
    """The profile of the previous run, from its copy in OUTPUT or else from that run; None where a plan has none.

    Raises UsageError as `copy_profile` does.
    """
    if plan.since is None or plan.since.profile_sha256 is None:
        return None
    data = output.read(PREVIOUS_PROFILE)
    if data is None or sha256(data) != plan.since.profile_sha256:
        data = _published_profile(plan.since)
    where = f"{output.uri}{PREVIOUS_PROFILE}"
    return parse(RunProfile, data, where, "a profile", "plan again without --since, in a new OUTPUT")


def _published_profile(since: Since) -> bytes:
    store = open_store(since.output or "")
    data = store.read(PROFILE)
    if data is None or sha256(data) != since.profile_sha256:
        raise _unusable(store, PROFILE, "missing" if data is None else "changed since this run was planned")
    return data


class PreviousRun:
    """The records of the previous run. Ask for them in the plan's order, from one thread: at most two parts are
    held."""

    def __init__(self, plan: Plan, store: Store, manifest: Manifest) -> None:
        self._plan = plan
        self._store = store
        self._entries = {PurePosixPath(entry.key).stem: entry for entry in manifest.parts}
        self._parts: OrderedDict[str, dict[str, Record]] = OrderedDict()

    @classmethod
    def open(cls, plan: Plan) -> PreviousRun | None:
        """The previous run of a plan, or None if it has none; raises UsageError when its manifest has changed."""
        if plan.since is None or plan.since.output is None:
            return None
        store = open_store(plan.since.output)
        data = store.read(MANIFEST)
        if data is None or sha256(data) != plan.since.manifest_sha256:
            raise _unusable(store, MANIFEST, "missing" if data is None else "changed since this run was planned")
        return cls(plan, store, parse_manifest(store, data))

    def record(self, image: PlannedImage) -> Record | None:
        """The record of an unchanged image, under this run's name; None when the image must be computed.

        Raises UsageError when the previous run's part is gone, or is not the one that was published.
        """
        if image.previous is None:
            return None
        found = self._part(image.previous).get(self._plan.input + image.key)
        if found is None:
            raise _unusable(self._store, image.previous, f"has no record of {image.key!r}")
        if found.status not in COPIED or found.status in self._plan.redo:
            return None
        return found.model_copy(update={"run": self._plan.run})

    def _part(self, name: str) -> dict[str, Record]:
        if name not in self._parts:
            entry = self._entries.get(name)
            if entry is None:
                raise _unusable(self._store, MANIFEST, f"lists no {name}")
            while len(self._parts) >= PARTS_HELD:
                self._parts.popitem(last=False)
            self._parts[name] = {record.image: record for record in self._read(entry)}
        return self._parts[name]

    def _read(self, entry: PartEntry) -> list[Record]:
        try:
            return published_records(entry, self._store.read(entry.key))
        except ValueError as error:
            raise _unusable(self._store, entry.key, str(error)) from error


def _unusable(store: Store, key: str, reason: str) -> UsageError:
    return UsageError(f"{store.uri}{key} of the previous run: {reason}; plan again without --since, in a new OUTPUT")
