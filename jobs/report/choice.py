"""The images that a report shows, their order, and the reason for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from detector.common.pages import Group
from jobs.formats import BoxRecord, Plan, RuleResult
from jobs.parts import WholePart, find_parts
from jobs.report.samples import SAMPLE, SampledImage, Samples, distance_to_half
from jobs.storage import Store
from jobs.tally import Tally

RULES = Group("rules", "named by a rule")
DOUBTFUL = Group("doubtful", "scores nearest to .5")
SAMPLED = Group("sample", "sample of each label")
FAILED = Group("failed", "failed")
GROUPS = (RULES, DOUBTFUL, SAMPLED, FAILED)
# The most examples of one rule; validation.json stores the same number.
EXAMPLES = 20


@dataclass
class GalleryImage:
    """An image of the gallery and why it is there. marked: the box for which it is shown, or None."""

    sampled: SampledImage
    groups: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    marked: BoxRecord | None = None

    def because(self, group: Group, note: str) -> None:
        """Add a reason."""
        if group.name not in self.groups:
            self.groups.append(group.name)
        self.notes.append(note)


def choose(
    output: Store, plan: Plan, tally: Tally, samples: Samples, rules: Sequence[RuleResult]
) -> list[GalleryImage]:
    """The images of the gallery, each once with all its reasons: examples of broken rules, then images with scores
    nearest to one half, then the sample of each label, then failures.

    Reads the parts that hold the examples from `output` again.
    """
    chosen: dict[str, GalleryImage] = {}

    def take(sampled: SampledImage) -> GalleryImage:
        return chosen.setdefault(sampled.record.image, GalleryImage(sampled))

    broken = [rule for rule in rules if is_broken(rule)]
    found = _look_up(output, plan, samples, broken)
    for rule in broken:
        for image in rule.examples[:EXAMPLES]:
            if image in found:
                take(found[image]).because(RULES, f"breaks {rule.rule}")
    for sampled in samples.doubtful:
        item = take(sampled)
        item.marked = min(item.sampled.record.boxes, key=lambda box: distance_to_half(box.score))
        item.because(DOUBTFUL, f"score near .5: {item.marked.label} {item.marked.score:.2f}")
    for label in _sampled_labels(tally):
        for sampled in samples.by_label[label]:
            take(sampled).because(SAMPLED, f"sample of {label}")
    for status, failures in sorted(samples.failures.items()):
        for sampled in failures:
            take(sampled).because(FAILED, f"failed: {status}")
    return list(chosen.values())


def is_broken(rule: RuleResult) -> bool:
    """Whether a rule found something to show."""
    return rule.verdict in ("warned", "rejected")


def _sampled_labels(tally: Tally) -> list[str]:
    """The labels that are shown, in the artifact's order; when there are too many, those with the most boxes."""
    found = [label for label in tally.classes if tally.labels[label]]
    kept = sorted(found, key=lambda label: -tally.labels[label])[:SAMPLE]
    return [label for label in found if label in set(kept)]


def _look_up(output: Store, plan: Plan, samples: Samples, rules: Sequence[RuleResult]) -> dict[str, SampledImage]:
    """The images that the rules name, by URI; those that were not planned are left out."""
    wanted = {
        image: part
        for rule in rules
        for image in rule.examples[:EXAMPLES]
        if image.startswith(plan.input) and (part := samples.part_of(image.removeprefix(plan.input)))
    }
    names = {part.name for part in wanted.values()}
    found: dict[str, SampledImage] = {}
    for there in find_parts(output, plan, [part for part in plan.parts if part.name in names]):
        if isinstance(there, WholePart):
            for image, record in zip(there.images, there.records, strict=True):
                if record.image in wanted:
                    found[record.image] = SampledImage(image, record)
    return found
