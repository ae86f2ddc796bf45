"""Draws runs from pools of records, and asks the product's own drift rules about each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from benchmarks.pixel_rules.faults import CLEAN
from benchmarks.pixel_rules.pool import Pools
from detector.runtime.artifact import Artifact
from jobs.formats import RECORDS_VERSION, Plan, Record, RunProfile
from jobs.profile import Profiles
from jobs.rules.drift import first_compared
from jobs.rules.policy import DRIFT_RULES
from jobs.rules.rules import within_limits
from jobs.rules.subjects import subjects

PREFIXES = 10


def drawn_run(pools: Pools, fault: str, images: int, seed: int) -> list[Record]:
    """Records of a run with PREFIXES cameras; the last camera has the fault.

    Each photograph is drawn once where the pool is large enough, because a repeated one is a near-duplicate. A camera
    that hangs shows one image: all of its records are frames of one photograph.
    """
    random = np.random.default_rng([seed, sum(map(ord, fault))])
    clean, faulty = pools[CLEAN], pools[fault]
    each = images // PREFIXES
    if fault == "stuck camera":
        name = faulty[random.integers(len(faulty))].image.partition("#")[0]
        faulty = [record for record in faulty if record.image.startswith(f"{name}#")]
    count = images if fault == CLEAN else images - each
    drawn = [clean[place] for place in random.choice(len(clean), count, replace=len(clean) < count)]
    if fault != CLEAN:
        drawn += [faulty[place] for place in random.choice(len(faulty), each, replace=len(faulty) < each)]
    return [
        record.model_copy(update={"image": f"/p/camera-{number // each:02d}/{seed}-{number:05d}.jpg"})
        for number, record in enumerate(drawn)
    ]


def alarms(records: Sequence[Record], artifact: Artifact, earlier: RunProfile | None) -> dict[str, set[str]]:
    """The rules that warn, each with the run or the prefixes that it warns of."""
    profiles = profile(records, artifact)
    found: dict[str, set[str]] = {}
    for subject in subjects(profiles, plan_of(artifact), artifact, earlier):
        for rule, value in subject.row().items():
            if value is not None and not within_limits(rule, value):
                found.setdefault(rule, set()).add(subject.name)
    return found


def profile(records: Sequence[Record], artifact: Artifact) -> Profiles:
    """The profiles of a run."""
    plan = plan_of(artifact)
    profiles = Profiles(plan, artifact.classes, first_compared(artifact, plan.min_score), 1)
    profiles.add(records)
    return profiles


def plan_of(artifact: Artifact) -> Plan:
    """The plan of a drawn run."""
    return Plan(
        run="0" * 8, digest="0" * 64, planned_at="2026-01-01T00:00:00+00:00", input="/p/", artifact_sha256="0" * 64,
        min_score=artifact.operating_score, part_size=500, images=0, other_files=0, parts=[],
        records_version=RECORDS_VERSION,
    )  # fmt: skip


def measure(
    pools: Pools, fault: str, artifact: Artifact, runs: int, images: int, *, since: bool
) -> tuple[float, Counter[str]]:
    """Return the share of seeded runs with an alarm, and how many runs each rule warned of.

    since: compare each with a clean run before it, in place of the artifact's test images. A fault counts as seen if
    a rule warns of its prefix or of the run; a clean run counts if any rule warns of anything.
    """
    rules: Counter[str] = Counter()
    seen = 0
    for seed in range(runs):
        earlier = None
        if since:
            before = drawn_run(pools, CLEAN, images, runs + seed)
            earlier = profile(before, artifact).published("1" * 8)
        found = alarms(drawn_run(pools, fault, images, seed), artifact, earlier)
        about = {f"camera-{PREFIXES - 1:02d}/", "the run"}
        hits = {rule for rule, names in found.items() if fault == CLEAN or names & about}
        seen += bool(hits)
        rules.update(rule for rule in DRIFT_RULES if rule in hits)
    return seen / runs, rules
