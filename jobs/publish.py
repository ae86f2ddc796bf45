"""The end of a run: verify every part, judge the records, draw the report, publish the manifest last."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from detector.runtime.artifact import Artifact
from jobs.errors import IncompleteError, StorageError, UsageError
from jobs.formats import (
    STATUSES,
    Cost,
    Lineage,
    Manifest,
    PartEntry,
    Plan,
    RuleResult,
    Validation,
    sha256,
)
from jobs.manifest_file import MANIFEST, parse_manifest, read_manifest
from jobs.model import run_model
from jobs.parts import Flaw, WholePart, find_parts, records_key
from jobs.plan import PlanOrder
from jobs.report import REPORT, Collector, render
from jobs.rules.policy import Policy
from jobs.rules.review import Review
from jobs.storage import Store, read_ahead
from jobs.temporary import temporary_files, temporary_folder

VALIDATION = "quality/validation.json"
DOCS = "quality/docs"
# Parts in an error's one line.
MOST_NAMED = 3


@dataclass
class Tally:
    """What a walk over the parts adds up."""

    parts: list[PartEntry] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    cpu_seconds: float = 0.0
    bytes_read: int = 0
    onnxruntime: set[str] = field(default_factory=set)

    def add(self, key: str, part: WholePart) -> None:
        """Add one part."""
        stats = part.stats
        self.parts.append(PartEntry(key=key, count=len(part.records), bytes=part.bytes, sha256=stats.sha256))
        self.statuses.update(record.status for record in part.records)
        self.labels.update(box.label for record in part.records for box in record.boxes)
        self.cpu_seconds += stats.cpu_seconds
        self.bytes_read += stats.bytes_read
        self.onnxruntime.add(stats.onnxruntime)


@dataclass(frozen=True)
class Examined:
    """A complete run, added up and judged; nothing of it is written."""

    artifact: Artifact
    tally: Tally
    seen: Collector
    review: Review
    validation: Validation


def examine(output: Store, plan: Plan, policy: Policy) -> Examined:
    """Read every part once, hold it against the plan, and judge it.

    Raises IncompleteError when a part is missing or damaged, and names it; UsageError when the plan is damaged.
    """
    with run_model(output, plan) as model:
        artifact = model.artifact
    review = Review(plan, artifact, policy)
    tally, seen = Tally(), Collector(plan, artifact.classes)
    order = PlanOrder(output, plan)
    flaws: list[tuple[str, str]] = []
    for item in find_parts(output, plan, plan.parts):
        order.add(item.part, item.images)
        if isinstance(item.found, Flaw):
            flaws.append((item.part.name, item.found.reason))
            continue
        tally.add(records_key(item.part), item.found)
        seen.add(item.images, item.found.records)
        review.add(item.part, item.images, item.found.records)
    order.end()
    if flaws:
        raise IncompleteError(
            f"{output.uri}: {len(flaws)} of {len(plan.parts)} parts are not there: {_ranges(flaws)}; "
            f"make them with: boxcar work {output.uri}"
        )
    return Examined(artifact, tally, seen, review, review.verdict())


def validate(output: Store, plan: Plan) -> Validation:
    """Judge a complete run without publishing it, and write what lies in quality/.

    By the policy of the manifest where one is published, and by the default one otherwise. Where the verdict is not the
    published one, nothing is written: raises UsageError then, and what `examine` raises.
    """
    policy = _policy(read_manifest(output))
    examined = examine(output, plan, policy)
    manifest = read_manifest(output)
    if manifest is not None and _policy(manifest) != policy:  # published meanwhile
        examined = examine(output, plan, _policy(manifest))
    if manifest is not None and manifest.validation_sha256 != sha256(examined.validation.pretty()):
        raise UsageError(
            f"{output.uri}: the records are not those that were published as {manifest.status} with "
            f"{_options(_policy(manifest))}: they would be {examined.validation.status}; put the published parts back, "
            "or choose a new OUTPUT"
        )
    _write_quality(output, examined)
    return examined.validation


def _write_quality(output: Store, examined: Examined) -> None:
    """The verdict, and Great Expectations' Data Docs: pages for a browser."""
    with temporary_folder() as folder:
        with temporary_files():
            examined.review.write_docs(folder)
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            output.write(f"{DOCS}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    output.write(VALIDATION, examined.validation.pretty())


def _ranges(flaws: list[tuple[str, str]]) -> str:
    """Parts by name and what is wrong with them; neighbours with the same flaw as "first to last"."""
    runs: list[tuple[str, str, str]] = []
    for name, reason in flaws:
        if runs and runs[-1][2] == reason and _number(name) == _number(runs[-1][1]) + 1:
            runs[-1] = (runs[-1][0], name, reason)
        else:
            runs.append((name, name, reason))
    return ", ".join(f"{first if first == last else f'{first} to {last}'} ({reason})" for first, last, reason in runs)


def _number(part_name: str) -> int:
    return int(part_name.rpartition("-")[2])


def finish(output: Store, plan: Plan, policy: Policy) -> Manifest:
    """Examine the run and publish it with its verdict; what `published` finds stays as it is.

    The verdict's file and the report are written before the manifest, which names the verdict's digest. When another
    command publishes at the same moment, they are made again for its manifest. Raises what `examine` and `published`
    raise, and StorageError when another verdict was published meanwhile.
    """
    manifest = published(output, plan, policy)
    if manifest is not None:
        return manifest
    before = output.read_version(MANIFEST)
    examined = examine(output, plan, policy)
    changed = [] if before is None else _changed(parse_manifest(output, before.data), examined.tally)
    if changed:
        raise UsageError(
            f"{output.uri}: published as valid, with other parts than are there now: {', '.join(changed[:MOST_NAMED])}"
            f"{' and more' if len(changed) > MOST_NAMED else ''}; put the published ones back, or choose a new OUTPUT"
        )
    manifest = None if before is None else published(output, plan, policy)
    if manifest is not None:  # by another command, after the first look
        return manifest
    manifest = _manifest(plan, policy, examined)
    _write_pages(output, plan, examined, manifest)
    data = manifest.pretty()
    if output.swap(MANIFEST, data, None if before is None else before.etag) or output.read(MANIFEST) == data:
        return manifest
    # Another `finish` was first; what is valid stays, because latest.json may name its bytes.
    winner = read_manifest(output)
    if winner is not None and winner.lineage.plan_digest == plan.digest:
        _write_pages(output, plan, examine(output, plan, _policy(winner)), winner)
    manifest = published(output, plan, policy)
    if manifest is None:
        raise StorageError(f"{output.uri}{MANIFEST}: published otherwise while this run was examined; run again")
    return manifest


def _write_pages(output: Store, plan: Plan, examined: Examined, manifest: Manifest) -> None:
    """All that people read beside the manifest."""
    _write_quality(output, examined)
    output.write(REPORT, render(output, plan, examined.artifact, examined.validation, examined.seen, manifest))


def _manifest(plan: Plan, policy: Policy, examined: Examined) -> Manifest:
    artifact, tally, validation = examined.artifact, examined.tally, examined.validation
    return Manifest(
        run=plan.run,
        status=validation.status,
        planned_at=plan.planned_at,
        published_at=datetime.now(UTC).isoformat(timespec="seconds"),
        input=plan.input,
        images=plan.images,
        statuses=dict.fromkeys(STATUSES, 0) | dict(sorted(tally.statuses.items())),
        boxes=dict.fromkeys(artifact.classes, 0) | dict(sorted(tally.labels.items())),
        min_score=plan.min_score,
        max_failed=policy.max_failed,
        strict=list(policy.strict),
        warnings=[rule.rule for rule in validation.rules if _is_warning(rule)],
        validation_sha256=sha256(validation.pretty()),
        parts=tally.parts,
        lineage=Lineage(
            plan_digest=plan.digest,
            artifact_name=artifact.name,
            artifact_sha256=plan.artifact_sha256,
            onnx_sha256=artifact.onnx_sha256,
            git_revision=artifact.git_revision,
            data_digest=artifact.data_digest,
            params_digest=artifact.params_digest,
            boxcar=_package_version(),
            onnxruntime=sorted(tally.onnxruntime),
        ),
        cost=Cost(cpu_seconds=round(tally.cpu_seconds, 3), bytes_read=tally.bytes_read),
    )


def _is_warning(rule: RuleResult) -> bool:
    """Also a rule that was to reject and could not be judged."""
    return rule.verdict == "warned" or (rule.verdict == "skipped" and rule.severity == "reject")


def _changed(manifest: Manifest, tally: Tally) -> list[str]:
    """The parts that a valid manifest lists otherwise than they are: what it says must stay true, because latest.json
    may name it. A rejected one may be replaced."""
    if manifest.status != "valid":
        return []
    there = {entry.key: entry for entry in tally.parts}
    return [entry.key for entry in manifest.parts if there.get(entry.key) != entry]


def published(output: Store, plan: Plan, policy: Policy) -> Manifest | None:
    """The manifest of this very run, published as valid, with every part as it lists it; None otherwise.

    Such a run keeps its verdict and its manifest's bytes, which latest.json names by their digest: raises UsageError
    when it was published under another policy. A rejected run may be judged again. Pages that do not belong to the
    manifest are made again.
    """
    manifest = read_manifest(output)
    if manifest is None or manifest.status != "valid" or manifest.lineage.plan_digest != plan.digest:
        return None
    there = _policy(manifest)
    if there != policy:
        raise UsageError(
            f"{output.uri}: published as valid with {_options(there)}, which stays, not {_options(policy)}; "
            f"look at it with: boxcar validate {output.uri}, or choose a new OUTPUT"
        )
    if not _has_its_parts(output, plan, manifest):
        return None
    if not _has_its_verdict(output, manifest):  # a command was killed while it published
        examined = examine(output, plan, policy)
        if sha256(examined.validation.pretty()) == manifest.validation_sha256:  # not where the rules have changed since
            _write_pages(output, plan, examined, manifest)
    return manifest


def _policy(manifest: Manifest | None) -> Policy:
    """The one that a run was published with; the default one otherwise."""
    return Policy() if manifest is None else Policy(manifest.max_failed, tuple(manifest.strict))


def _has_its_verdict(output: Store, manifest: Manifest) -> bool:
    data = output.read(VALIDATION)
    return data is not None and sha256(data) == manifest.validation_sha256


def _options(policy: Policy) -> str:
    return " ".join([f"--max-failed {policy.max_failed}", *(f"--strict {name}" for name in policy.strict)])


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
