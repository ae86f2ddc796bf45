"""The end of a run: check every part, judge the records, draw the report, and publish the manifest last."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from detector.runtime.artifact import Artifact
from jobs.audit.record import published_audit
from jobs.errors import IncompleteError, StorageError, UsageError
from jobs.formats import STATUSES, Cost, Lineage, Manifest, Plan, RunProfile, Validation, parse, sha256
from jobs.model import run_artifact
from jobs.parts import Flaw, WholePart, find_parts, records_key
from jobs.plan import PLAN, PlanOrder
from jobs.previous import PROFILE, previous_profile
from jobs.published_run import MANIFEST, parse_manifest, read_manifest
from jobs.report import REPORT, Samples, render
from jobs.rules.policy import DEFAULT_PREFIX_DEPTH, Policy
from jobs.rules.review import Review
from jobs.rules.subjects import judged_depth
from jobs.storage import Store, read_ahead
from jobs.tally import Tally

VALIDATION = "quality/validation.json"
# Most parts that an error names in its one line.
MOST_NAMED = 3


def whole_parts(output: Store, plan: Plan) -> Iterator[WholePart]:
    """Every part of a complete run, checked against the plan, in order.

    Raises IncompleteError at the end, with the names of all parts that are missing or damaged, and UsageError when the
    plan is damaged.
    """
    order = PlanOrder(output, plan)
    flaws: list[Flaw] = []
    for found in find_parts(output, plan, plan.parts):
        order.add(found.part, found.images)
        if isinstance(found, Flaw):
            flaws.append(found)
        else:
            yield found
    order.end()
    if flaws:
        raise IncompleteError(
            f"{output.uri}: {len(flaws)} of {len(plan.parts)} parts are not there: {_ranges(flaws)}; "
            f"make them with: boxcar work {output.uri}"
        )


def _ranges(flaws: list[Flaw]) -> str:
    """The parts by name with their flaws; neighbours that share a flaw are written as "first to last"."""
    runs: list[tuple[str, str, str]] = []
    for name, reason in ((flaw.part.name, flaw.reason) for flaw in flaws):
        if runs and runs[-1][2] == reason and _number(name) == _number(runs[-1][1]) + 1:
            runs[-1] = (runs[-1][0], name, reason)
        else:
            runs.append((name, name, reason))
    return ", ".join(f"{first if first == last else f'{first} to {last}'} ({reason})" for first, last, reason in runs)


def _number(part_name: str) -> int:
    return int(part_name.rpartition("-")[2])


@dataclass(frozen=True)
class Examination:
    """A complete run, counted and judged; nothing of it is written yet."""

    artifact: Artifact
    tally: Tally
    samples: Samples
    validation: Validation
    profile: RunProfile


def examine(output: Store, plan: Plan, policy: Policy) -> Examination:
    """Read every part once, count it and judge it. Raises what `whole_parts` raises."""
    artifact = run_artifact(output, plan)
    tally, samples = Tally(artifact.classes), Samples(plan, artifact.classes)
    review = Review(plan, artifact, policy, previous_profile(plan, output))
    for part in whole_parts(output, plan):
        tally.add(part)
        samples.add(part.images, part.records)
        review.add(part.part, part.images, part.records)
    return Examination(artifact, tally, samples, review.verdict(), review.profiles.published(plan.run))


def validate(output: Store, plan: Plan) -> Validation:
    """Judge a complete run without publishing it, and write its verdict.

    The policy is that of the manifest where one is published, and the default one otherwise. Raises UsageError, and
    writes nothing, when the verdict differs from the published one; also raises what `examine` raises.
    """
    policy = _policy(read_manifest(output))
    examination = examine(output, plan, policy)
    manifest = read_manifest(output)
    if manifest is not None and _policy(manifest) != policy:  # published meanwhile
        examination = examine(output, plan, _policy(manifest))
    if manifest is not None and manifest.validation_sha256 != sha256(examination.validation.pretty()):
        raise UsageError(
            f"{output.uri}: the records are not those that were published as {manifest.status} with "
            f"{_options(_policy(manifest))}: they would be {examination.validation.status}; put the published parts "
            "back, or choose a new OUTPUT"
        )
    output.write(VALIDATION, examination.validation.pretty())
    return examination.validation


def write_report(output: Store, plan: Plan) -> Validation:
    """Write report.html of a complete run that was judged before, and return its verdict.

    Raises UsageError where the verdict is not that of this run, and what `whole_parts` raises.
    """
    manifest = read_manifest(output)
    validation = _read_validation(output, plan, manifest)
    if manifest is not None and manifest.lineage.plan_digest != plan.digest:
        raise UsageError(f"{output.uri}: its manifest is of another plan; publish with: boxcar finish {output.uri}")
    artifact = run_artifact(output, plan)
    tally, samples = Tally(artifact.classes), Samples(plan, artifact.classes)
    for part in whole_parts(output, plan):
        tally.add(part)
        samples.add(part.images, part.records)
    stored = output.read(MANIFEST)
    audit = None if stored is None else published_audit(output, sha256(stored))
    output.write(REPORT, render(output, plan, artifact, validation, tally, samples, manifest, audit))
    return validation


def _read_validation(output: Store, plan: Plan, manifest: Manifest | None) -> Validation:
    where, again = output.uri + VALIDATION, f"judge the run again with: boxcar validate {output.uri}"
    data = output.read(VALIDATION)
    if data is None:
        raise UsageError(f"{where}: not there; judge the run first with: boxcar validate {output.uri}")
    if manifest is not None and manifest.validation_sha256 != sha256(data):
        raise UsageError(f"{where}: not the verdict that was published; repair it with: boxcar finish {output.uri}")
    validation = parse(Validation, data, where, "a verdict", again)
    if validation.run != plan.run:
        raise UsageError(f"{where}: of run {validation.run}, not {plan.run}; {again}")
    return validation


def find_published(output: Store, plan: Plan, policy: Policy) -> Manifest | None:
    """The manifest of this run if it is published as valid and every part is as it lists it; None otherwise.

    Such a run keeps its verdict and its manifest's bytes, because latest.json names their digest: raises UsageError
    when it was published under another policy. A rejected run may be judged again.
    """
    manifest = read_manifest(output)
    if manifest is None or manifest.status != "valid" or manifest.lineage.plan_digest != plan.digest:
        return None
    there = _policy(manifest)
    if _judged(plan, there) != _judged(plan, policy):
        raise UsageError(
            f"{output.uri}: published as valid with {_options(there)}, which cannot be changed to {_options(policy)}; "
            f"look at it with: boxcar validate {output.uri}, or choose a new OUTPUT"
        )
    return manifest if _has_its_parts(output, plan, manifest) else None


def repair_pages(output: Store, plan: Plan, manifest: Manifest) -> None:
    """Write the verdict, the profile and the report of a published run again if the file of the verdict or of the
    profile is not the published one.

    This happens when a command is killed while it publishes, or when a file was lost. If the rules of this version
    give another verdict or profile, that file stays as it is.
    """
    published = {VALIDATION: manifest.validation_sha256, PROFILE: manifest.profile_sha256}
    if any(digest is not None and not _is_there(output, key, digest) for key, digest in published.items()):
        examination = examine(output, plan, _policy(manifest))
        _write_profile(output, examination, manifest)
        if sha256(examination.validation.pretty()) == manifest.validation_sha256:
            _write_pages(output, plan, examination, manifest)


def _is_there(output: Store, key: str, digest: str) -> bool:
    data = output.read(key)
    return data is not None and sha256(data) == digest


def finish(output: Store, plan: Plan, policy: Policy) -> Manifest:
    """Examine the run and publish it with its verdict; a run that is published as valid stays as it is.

    The verdict's file and the report are written before the manifest, which names the verdict's digest. When another
    command publishes at the same moment, they are written again for its manifest. Raises what `examine` and
    `find_published` raise, and StorageError when another verdict was published meanwhile.
    """
    before = output.read_version(MANIFEST)
    manifest = find_published(output, plan, policy)
    if manifest is not None:
        repair_pages(output, plan, manifest)
        return manifest
    examination = examine(output, plan, policy)
    if before is not None:
        _refuse_changed_parts(output, parse_manifest(output, before.data), examination.tally)
        manifest = find_published(output, plan, policy)
        if manifest is not None:  # its parts were put back meanwhile
            repair_pages(output, plan, manifest)
            return manifest
    manifest = _manifest(plan, policy, examination, output.read(PLAN))
    _write_pages(output, plan, examination, manifest)
    data = manifest.pretty()
    if output.swap(MANIFEST, data, None if before is None else before.etag) or output.read(MANIFEST) == data:
        return manifest
    # Another `finish` was first. A valid manifest stays, because latest.json may name its bytes.
    winner = read_manifest(output)
    if winner is not None and winner.lineage.plan_digest == plan.digest:
        _write_pages(output, plan, examine(output, plan, _policy(winner)), winner)
    manifest = find_published(output, plan, policy)
    if manifest is None:
        raise StorageError(f"{output.uri}{MANIFEST}: another command published another verdict meanwhile; run again")
    return manifest


def _write_pages(output: Store, plan: Plan, examination: Examination, manifest: Manifest) -> None:
    """Write the files that people read beside the manifest."""
    output.write(VALIDATION, examination.validation.pretty())
    _write_profile(output, examination, manifest)
    audit = None
    with contextlib.suppress(UsageError):  # a damaged audit keeps no run from being published
        audit = published_audit(output, sha256(manifest.pretty()))
    page = render(
        output,
        plan,
        examination.artifact,
        examination.validation,
        examination.tally,
        examination.samples,
        manifest,
        audit,
    )
    output.write(REPORT, page)


def _write_profile(output: Store, examination: Examination, manifest: Manifest) -> None:
    """Write the profile where it is the one that the manifest names; an older version's names none."""
    data = examination.profile.canonical()
    if sha256(data) == manifest.profile_sha256:
        output.write(PROFILE, data)


def _manifest(plan: Plan, policy: Policy, examination: Examination, stored: bytes | None) -> Manifest:
    """The manifest; stored: the bytes of plan.json."""
    artifact, tally, validation = examination.artifact, examination.tally, examination.validation
    return Manifest(
        run=plan.run,
        status=validation.status,
        planned_at=plan.planned_at,
        published_at=datetime.now(UTC).isoformat(timespec="seconds"),
        input=plan.input,
        images=plan.images,
        other_files=plan.other_files,
        filtered=plan.filtered,
        hidden=plan.hidden,
        statuses=dict.fromkeys(STATUSES, 0) | dict(sorted(tally.statuses.items())),
        boxes=dict.fromkeys(artifact.classes, 0) | dict(sorted(tally.labels.items())),
        min_score=plan.min_score,
        tile=plan.tile,
        overlap=plan.overlap,
        max_failed=policy.max_failed,
        strict=list(policy.strict),
        prefix_depth=examination.profile.prefix_depth,
        warnings=warnings_of(validation),
        validation_sha256=sha256(validation.pretty()),
        profile_sha256=sha256(examination.profile.canonical()),
        parts=tally.parts,
        lineage=Lineage(
            plan_digest=plan.digest,
            plan_sha256=None if stored is None else sha256(stored),
            artifact_name=artifact.name,
            artifact_sha256=plan.artifact_sha256,
            onnx_sha256=artifact.onnx_sha256,
            git_revision=artifact.git_revision,
            data_digest=artifact.data_digest,
            params_digest=artifact.params_digest,
            boxcar=_package_version(),
            onnxruntime=sorted(tally.onnxruntime),
            devices=sorted(tally.devices),
        ),
        cost=Cost(cpu_seconds=round(tally.cpu_seconds, 3), bytes_read=tally.bytes_read),
    )


def warnings_of(validation: Validation) -> list[str]:
    """The names of the rules that only warn, and of those that should reject but could not be judged."""
    return [
        rule.rule
        for rule in validation.rules
        if rule.verdict == "warned" or (rule.verdict == "skipped" and rule.severity == "reject")
    ]


def _refuse_changed_parts(output: Store, manifest: Manifest, tally: Tally) -> None:
    """Raise UsageError when parts differ from what a valid manifest lists: it must stay true, because latest.json may
    name it. A rejected one may be replaced."""
    there = {entry.key: entry for entry in tally.parts}
    changed = [entry.key for entry in manifest.parts if there.get(entry.key) != entry]
    if manifest.status == "valid" and changed:
        more = " and more" if len(changed) > MOST_NAMED else ""
        raise UsageError(
            f"{output.uri}: this run was published as valid, but these parts have changed since: "
            f"{', '.join(changed[:MOST_NAMED])}{more}; put the published ones back, or choose a new OUTPUT"
        )


def _policy(manifest: Manifest | None) -> Policy:
    """The policy that a run was published with, or the default one."""
    return Policy() if manifest is None else Policy(manifest.max_failed, tuple(manifest.strict), manifest.prefix_depth)


def _judged(plan: Plan, policy: Policy) -> Policy:
    """A policy as a plan is judged by it; see `judged_depth`."""
    return replace(policy, prefix_depth=judged_depth(plan, policy.prefix_depth))


def _options(policy: Policy) -> str:
    depth = [] if policy.prefix_depth == DEFAULT_PREFIX_DEPTH else [f"--prefix-depth {policy.prefix_depth}"]
    return " ".join([f"--max-failed {policy.max_failed}", *(f"--strict {name}" for name in policy.strict), *depth])


def _has_its_parts(output: Store, plan: Plan, manifest: Manifest) -> bool:
    """Whether the manifest lists the plan's parts, and each is there with its digest."""
    if [entry.key for entry in manifest.parts] != [records_key(part) for part in plan.parts]:
        return False
    with contextlib.closing(read_ahead(output, [entry.key for entry in manifest.parts])) as found:
        return all(
            data is not None and sha256(data) == entry.sha256 for entry, data in zip(manifest.parts, found, strict=True)
        )


def _package_version() -> str | None:
    try:
        return version("boxcar")
    except PackageNotFoundError:
        return None
