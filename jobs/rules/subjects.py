"""Measures the drift of a whole run and of each of its prefixes, and corrects for looking so often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from detector.runtime.artifact import Artifact, Baseline
from jobs.formats import QUALITY_SINCE, Plan, RunProfile
from jobs.profile import Profile, Profiles
from jobs.rules.drift import Drift, compare, measure, unjudged
from jobs.rules.pixels import examples, measure_pixels
from jobs.rules.policy import ALARM_RATE, BOX_RULES, DRIFT_RULES, PREFIX_BOXES, PREFIX_IMAGES
from jobs.rules.significance import holm

WHOLE = "the run"
_TEST, _EARLIER = "test", "the run before"


@dataclass
class Subject:
    """The whole run, or a prefix of it, with the measures of each drift rule.

    base: what its pixels are compared with; significant: names of the rules whose measure is beyond chance.
    """

    name: str
    seen: Profile
    base: Baseline | None
    measures: dict[str, Drift]
    significant: set[str] = field(default_factory=set)

    def row(self) -> dict[str, float | None]:
        """The measures that a rule judges: None where there is too little data, or chance may be the reason."""
        return {rule: drift.value if rule in self.significant else None for rule, drift in self.measures.items()}

    def examples(self, rule: str) -> list[str]:
        """Images that a rule is about, the worst ones of a sample first."""
        return [image.name for image in examples(rule, self.seen.pixels, self.base.pixels if self.base else None)]


def subjects(profiles: Profiles, plan: Plan, artifact: Artifact, earlier: RunProfile | None) -> list[Subject]:
    """The run, and its prefixes by name if at least two of them have PREFIX_IMAGES images.

    earlier: the profile of the run before; None where there is none, and then the artifact's test images are compared
    with. A prefix that the run before did not have is compared with these too, but by its pixels only: a camera sees
    labels of its own, and so does a folder of one class.
    """
    measures = measure(profiles.whole, artifact, plan.min_score, tiled=plan.tile is not None)
    base, there = (artifact.baseline, _TEST) if earlier is None else (earlier.whole, _EARLIER)
    found = [Subject(WHOLE, profiles.whole, base, measures | _pixels(profiles.whole, base, there))]
    large = {name: own for name, own in sorted((profiles.prefixes or {}).items()) if own.images >= PREFIX_IMAGES}
    before: Mapping[str, Baseline] = {} if earlier is None else earlier.prefixes
    for name, own in large.items() if len(large) > 1 else ():
        known = before.get(name)
        base, there = (artifact.baseline, _TEST) if known is None else (known, _EARLIER)
        if known is None:
            measures = unjudged("the boxes of a prefix are compared with an earlier run only")
        else:
            counts = {"images": PREFIX_IMAGES, "boxes": PREFIX_BOXES}
            measures = compare(own, known, artifact, plan.min_score, there, **counts)
        found.append(Subject(name, own, base, measures | _pixels(own, base, there)))
    _mark_significant(found)
    return found


def _pixels(seen: Profile, base: Baseline | None, there: str) -> dict[str, Drift]:
    return measure_pixels(seen.pixels, None if base is None else base.pixels, there, is_test=there == _TEST)


def _mark_significant(found: list[Subject]) -> None:
    """Note which measures are beyond chance, for all rules and subjects that were looked at together."""
    looked_at = [
        (subject, rule, drift.chance)
        for subject in found
        for rule, drift in subject.measures.items()
        if drift.value is not None
    ]
    for (subject, rule, _), chance in zip(looked_at, holm([chance for *_, chance in looked_at]), strict=True):
        if chance <= ALARM_RATE:
            subject.significant.add(rule)


def judged_depth(plan: Plan, depth: int) -> int:
    """The number of folders by which drift of a plan is judged where a policy wants `depth`: runs of an older version
    are judged as they were, not by prefix."""
    return depth if plan.records_version >= QUALITY_SINCE else 0


def compared_rules(plan: Plan) -> tuple[str, ...]:
    """The drift rules of a plan: records below version 4 have no quality, and are judged as they were."""
    return BOX_RULES if plan.records_version < QUALITY_SINCE else DRIFT_RULES
