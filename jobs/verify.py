"""Checks a published run against its digests, from the manifest down to the artifact; no detector runs.

`stats/`, `report.html` and `quality/audit.json` are not published by a digest, and are not checked.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from detector.common.errors import ArtifactError
from detector.runtime.artifact import parse_artifact
from jobs.errors import ItemError, UsageError
from jobs.formats import (
    QUALITY_SINCE,
    Lineage,
    Manifest,
    PartEntry,
    Plan,
    PlannedImage,
    Record,
    RunProfile,
    Validation,
    read,
    sha256,
)
from jobs.model import FILES
from jobs.parts import planned_records, records_key
from jobs.plan import PLAN, PlanOrder, decode_planned, open_input, planned_key, read_plan
from jobs.previous import PROFILE
from jobs.publish import VALIDATION, warnings_of
from jobs.published_run import MANIFEST, parse_manifest
from jobs.storage import Store, read_ahead
from jobs.tally import Tally

# The fields of a manifest that came after version 0.1, in the order in which they came: an older one lacks all of
# them from a place on.
LATER_FIELDS = (
    {"other_files", "filtered", "hidden"},
    {"lineage.devices"},
    {"tile", "overlap"},
    {"lineage.plan_sha256"},
    {"prefix_depth", "profile_sha256"},
)
NETWORK, DESCRIPTION = (f"model/{name}" for name in FILES)


@dataclass(frozen=True)
class Check:
    """A file below OUTPUT, or the URI of an image, and what is wrong with it; "" if it is as published."""

    name: str
    problem: str = ""


def verify(output: Store, expected: str | None = None, images: int = 0) -> Iterator[Check]:
    """Check every file of a published run that a digest covers; raises UsageError where none is published.

    expected: SHA-256 of the manifest, as latest.json has it, or somebody who has noted it. Without it, values that
    nothing else states, such as the time of publishing, may have changed. images: number of images of INPUT, drawn by
    the plan's digest, that must still be the version that their records are of.
    """
    data = output.read(MANIFEST)
    if data is None:
        raise UsageError(f"{output.uri}{MANIFEST}: not there; publish the run with: boxcar finish {output.uri}")
    stored = output.read(PLAN)
    try:
        manifest = parse_manifest(output, data)
    except UsageError as error:
        yield Check(MANIFEST, f"is not a manifest: {error}")
        return
    try:
        plan = read_plan(output)
    except UsageError:
        plan = None
    if plan is None or stored is None:
        yield Check(PLAN, "missing" if stored is None else "changed since it was planned")
        return
    yield Check(PLAN, _plan_problem(manifest, stored))
    yield from _check_artifact(output, manifest)
    verdict = output.read(VALIDATION)
    yield _check_digest(VALIDATION, verdict, manifest.validation_sha256)
    if manifest.profile_sha256 is not None:  # a run of an older version has none
        yield from _check_profile(output, manifest, manifest.profile_sha256)
    if verdict is not None and (wrong := _verdict_differences(manifest, verdict)):
        yield Check(MANIFEST, f"does not agree with {VALIDATION} in {', '.join(wrong)}")
    tally = Tally(())
    yield from _check_parts(output, manifest, plan, tally, images)
    yield Check(MANIFEST, _manifest_problem(data, manifest, plan, tally, expected))


def _plan_problem(manifest: Manifest, stored: bytes) -> str:
    published = manifest.lineage.plan_sha256
    return "changed since the run was published" if published not in (None, sha256(stored)) else ""


def _manifest_problem(data: bytes, manifest: Manifest, plan: Plan, tally: Tally, expected: str | None) -> str:
    """What is wrong with the manifest: it repeats values of the plan, and counts what the parts hold."""
    if expected is not None and sha256(data) != expected:
        return f"has sha256 {sha256(data)}, not {expected}"
    written = manifest.model_dump_json(by_alias=True, indent=2, exclude_unset=True).encode() + b"\n"
    if written != data or not _may_lack(plan, _lacking(manifest)):
        return "is not as boxcar writes it"
    repeated = manifest.model_dump(include=Plan.model_fields.keys() - {"parts"})
    wrong = [name for name, value in repeated.items() if value != getattr(plan, name)]
    if (manifest.lineage.plan_digest, manifest.lineage.artifact_sha256) != (plan.digest, plan.artifact_sha256):
        wrong.append("lineage")
    counts = {"statuses": (manifest.statuses, tally.statuses), "boxes": (manifest.boxes, tally.labels)}
    wrong += [name for name, (said, there) in counts.items() if {k: v for k, v in said.items() if v} != dict(there)]
    return f"does not agree with the plan and the parts in {', '.join(wrong)}" if wrong else ""


def _lacking(manifest: Manifest) -> set[str]:
    lineage = {f"lineage.{name}" for name in Lineage.model_fields.keys() - manifest.lineage.model_fields_set}
    return (Manifest.model_fields.keys() - manifest.model_fields_set) | lineage


def _may_lack(plan: Plan, fields: set[str]) -> bool:
    """Whether an older version writes a manifest without just these fields. None is missing where the plan's records
    have a quality: the version that came with it wrote all of them."""
    if plan.records_version >= QUALITY_SINCE:
        return not fields
    return any(fields == set().union(*LATER_FIELDS[first:]) for first in range(len(LATER_FIELDS) + 1))


def _verdict_differences(manifest: Manifest, data: bytes) -> list[str]:
    """The values of the manifest that its verdict states too, and that differ."""
    with contextlib.suppress(ValidationError):
        verdict = read(Validation, data)
        said = verdict.model_dump(include={"run", "status", "max_failed", "strict"})
        said["warnings"] = warnings_of(verdict)
        return [name for name, value in said.items() if value != getattr(manifest, name)]
    return []


def _check_profile(output: Store, manifest: Manifest, digest: str) -> Iterator[Check]:
    data = output.read(PROFILE)
    checked = _check_digest(PROFILE, data, digest)
    yield checked
    if data is not None and not checked.problem:
        with contextlib.suppress(ValidationError):
            if read(RunProfile, data).prefix_depth != manifest.prefix_depth:
                yield Check(MANIFEST, f"does not agree with {PROFILE} in prefix_depth")


def _check_artifact(output: Store, manifest: Manifest) -> Iterator[Check]:
    data = output.read(DESCRIPTION)
    described = _check_digest(DESCRIPTION, data, manifest.lineage.artifact_sha256)
    if not described.problem and data is not None:
        with contextlib.suppress(ArtifactError):
            artifact = parse_artifact(data, DESCRIPTION)
            shared = ("onnx_sha256", "git_revision", "data_digest", "params_digest")
            wrong = [name for name in shared if getattr(artifact, name) != getattr(manifest.lineage, name)]
            wrong += ["artifact_name"] if artifact.name != manifest.lineage.artifact_name else []
            if wrong:
                yield Check(MANIFEST, f"does not agree with {DESCRIPTION} in {', '.join(wrong)}")
    yield described
    yield _check_digest(NETWORK, output.read(NETWORK), manifest.lineage.onnx_sha256)


def _check_digest(name: str, data: bytes | None, digest: str) -> Check:
    if data is None:
        return Check(name, "missing")
    return Check(name, "" if sha256(data) == digest else f"has sha256 {sha256(data)}, not {digest}")


def _check_parts(output: Store, manifest: Manifest, plan: Plan, tally: Tally, images: int) -> Iterator[Check]:
    """Check what was planned and recorded for every part, and a sample of images; counts the records in `tally`."""
    if [entry.key for entry in manifest.parts] != [records_key(part) for part in plan.parts]:
        yield Check(MANIFEST, "lists other parts than the plan")
        return
    order, source = PlanOrder(output, plan), open_input(plan) if images else None
    chosen = set(random.Random(plan.digest).sample(range(plan.images), min(images, plan.images)))
    keys = (key for part in plan.parts for key in (planned_key(part), records_key(part)))
    first = 0
    with contextlib.closing(read_ahead(output, keys)) as stored:
        for part, entry in zip(plan.parts, manifest.parts, strict=True):
            lines, data = next(stored), next(stored)
            try:
                planned = decode_planned(output, part, lines)
                order.add(part, planned)
            except UsageError:
                yield Check(planned_key(part), "missing" if lines is None else "changed since it was planned")
                continue
            yield Check(planned_key(part))
            problem, records = _records(plan, entry, planned, data)
            yield Check(entry.key, problem)
            tally.add_records(records)
            for number, (image, record) in enumerate(zip(planned, records, strict=False), start=first):
                if source is not None and number in chosen:
                    yield _check_image(source, image, record)
            first += part.count


def _records(plan: Plan, entry: PartEntry, planned: list[PlannedImage], data: bytes | None) -> tuple[str, list[Record]]:
    if data is None:
        return "missing", []
    if sha256(data) != entry.sha256:
        return f"has sha256 {sha256(data)}, not {entry.sha256}", []
    try:
        records = planned_records(plan, planned, data)
    except ValueError as error:
        return str(error), []
    return "" if (entry.count, entry.bytes) == (len(records), len(data)) else "has another size than listed", records


def _check_image(source: Store, image: PlannedImage, record: Record) -> Check:
    """Check an image against its record; one that failed then says nothing now."""
    if record.status != "ok":
        return Check(record.image)
    try:
        content = source.fetch(image)
    except ItemError as error:
        return Check(record.image, error.status)
    return Check(record.image, "" if content.etag == record.etag else "changed")
