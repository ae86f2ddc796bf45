"""Draws runs from pools of records, and asks the product's own drift rules about each."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.pixel_rules.faults import CLEAN, STUCK
from benchmarks.pixel_rules.pool import Pools
from detector.runtime.artifact import Artifact
from jobs.formats import RECORDS_VERSION, Plan, Record, RunProfile
from jobs.profile import Profiles
from jobs.rules.drift import first_compared
from jobs.rules.rules import within_limits
from jobs.rules.subjects import WHOLE, subjects

PREFIXES = 10
# Scenes of a clean run whose images are frames, each as many of one photograph: frames of a camera resemble each other.
SCENES = (1000, 200, 40, 20)
# A fault, and whether the reference is the run before.
Case = tuple[str, bool]


@dataclass(frozen=True)
class DrawnRuns:
    """Runs of one seed, which share their cameras without a fault: `clean` has all of them but the last one.

    earlier: the profile of a clean run before them.
    """

    clean: Profiles
    last: dict[str, list[Record]]
    earlier: RunProfile

    def alarms(self, fault: str, artifact: Artifact, *, since: bool) -> dict[str, set[str]]:
        """The rules that warn of the run whose last camera has the fault, each with what it warns of: the run, or its
        prefixes. since: it is compared with the run before, in place of the artifact's test images."""
        profiles = copy.deepcopy(self.clean)
        profiles.add(self.last[fault])
        found: dict[str, set[str]] = {}
        for subject in subjects(profiles, plan_of(artifact), artifact, self.earlier if since else None):
            for rule, value in subject.row().items():
                if value is not None and not within_limits(rule, value):
                    found.setdefault(rule, set()).add(subject.name)
        return found


def draw_runs(pools: Pools, artifact: Artifact, images: int, seed: int) -> DrawnRuns:
    """Draw the runs of a seed, each of `images` records in PREFIXES cameras.

    A photograph is drawn once where the pool is large enough, because a repeated one is a near-duplicate. A camera that
    hangs shows one image: all of its records are frames of one photograph.
    """
    random = np.random.default_rng(seed)
    each = images // PREFIXES
    now, before = (_cameras(_some(pools[CLEAN], images, random), each) for _ in range(2))
    last = {CLEAN: now[-each:]}
    for fault, pool in pools.items():
        if fault == CLEAN:
            continue
        if fault == STUCK:
            name = pool[random.integers(len(pool))].image.partition("#")[0]
            pool = [record for record in pool if record.image.startswith(f"{name}#")]
        last[fault] = _cameras(_some(pool, each, random), each, PREFIXES - 1)
    earlier = profile(before, artifact).published("1" * 8)
    return DrawnRuns(profile(now[:-each], artifact), last, earlier)


def draw_scenes(pools: Pools, artifact: Artifact, images: int, scenes: int, seed: int) -> DrawnRuns:
    """Draw two clean runs of a seed, each of `images` frames in PREFIXES cameras, which see `scenes` scenes in all.

    A scene is a photograph, and its frames have that one's record: the most that frames can resemble each other.
    """
    random = np.random.default_rng(seed)
    each = images // PREFIXES
    now, before = (
        _cameras([record for record in _some(pools[CLEAN], scenes, random) for _ in range(images // scenes)], each)
        for _ in range(2)
    )
    earlier = profile(before, artifact).published("1" * 8)
    return DrawnRuns(profile(now[:-each], artifact), {CLEAN: now[-each:]}, earlier)


def _some(pool: Sequence[Record], count: int, random: np.random.Generator) -> list[Record]:
    return [pool[place] for place in random.choice(len(pool), count, replace=len(pool) < count)]


def _cameras(records: Sequence[Record], each: int, first: int = 0) -> list[Record]:
    """The records as those of cameras with `each` images, the first of which has this number."""
    return [
        record.model_copy(update={"image": f"/p/camera-{first + number // each:02d}/{number:05d}.jpg"})
        for number, record in enumerate(records)
    ]


def profile(records: Sequence[Record], artifact: Artifact) -> Profiles:
    """The profiles of a run, or of some of its cameras."""
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
    pools: Pools, artifact: Artifact, runs: int, clean_runs: int, images: int
) -> Iterator[tuple[Case, set[str]]]:
    """Yield each case of each seed, with the rules that warned of it.

    A fault counts as seen if a rule warns of its prefix or of the run; a clean run counts if any rule warns of
    anything. Clean runs of frames in scenes are compared with the run before only.
    """
    for seed in range(runs):
        for scenes in SCENES:
            if scenes <= min(images, len(pools[CLEAN])):
                found = draw_scenes(pools, artifact, images, scenes, seed).alarms(CLEAN, artifact, since=True)
                yield (f"{CLEAN}, frames of {scenes:,} scenes", True), set(found)
    about = {f"camera-{PREFIXES - 1:02d}/", WHOLE}
    for seed in range(max(runs, clean_runs)):
        drawn = draw_runs(pools, artifact, images, seed)
        for fault in pools:
            for since in (False, True):
                if seed < (clean_runs if fault == CLEAN else runs):
                    found = drawn.alarms(fault, artifact, since=since)
                    yield (fault, since), {rule for rule, names in found.items() if fault == CLEAN or names & about}
