"""Which of the collected images a report shows, in which order, and why each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from detector.common.pages import Group
from jobs.formats import BoxRecord, Plan, RuleResult, Validation
from jobs.parts import WholePart, find_parts
from jobs.report.collect import SAMPLE, Collector, Shown, doubt
from jobs.storage import Store

RULES = Group("rules", "named by a rule")
DOUBTFUL = Group("doubtful", "most doubtful")
SAMPLED = Group("sample", "sample of each label")
FAILED = Group("failed", "failed")
GROUPS = (RULES, DOUBTFUL, SAMPLED, FAILED)
# Of a rule; as many as a verdict names.
EXAMPLES = 20


@dataclass
class Chosen:
    """An image of the gallery; marked: the box for which it is there, if it is one."""

    shown: Shown
    groups: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    marked: BoxRecord | None = None

    def because(self, group: Group, note: str) -> None:
        """Add a reason."""
        if group.name not in self.groups:
            self.groups.append(group.name)
        self.notes.append(note)


def choose(output: Store, plan: Plan, collector: Collector, validation: Validation) -> list[Chosen]:
    """Examples of broken rules first, then the most doubtful, then the sample of each label, then the failures; an
    image is there once, with all its reasons. Reads the parts that hold the examples from `output` again."""
    chosen: dict[str, Chosen] = {}

    def take(shown: Shown) -> Chosen:
        return chosen.setdefault(shown.record.image, Chosen(shown))

    broken = [rule for rule in validation.rules if is_broken(rule)]
    found = _look_up(output, plan, collector, broken)
    for rule in broken:
        for image in rule.examples[:EXAMPLES]:
            if image in found:
                take(found[image]).because(RULES, f"breaks {rule.rule}")
    for shown in collector.doubtful:
        item = take(shown)
        item.marked = min(item.shown.record.boxes, key=lambda box: doubt(box.score))
        item.because(DOUBTFUL, f"doubtful: {item.marked.label} {item.marked.score:.2f}")
    for label in _sampled_labels(collector):
        for shown in collector.samples[label]:
            take(shown).because(SAMPLED, f"sample of {label}")
    for status, failures in sorted(collector.failures.items()):
        for shown in failures:
            take(shown).because(FAILED, f"failed: {status}")
    return list(chosen.values())


def is_broken(rule: RuleResult) -> bool:
    """Whether a rule found something to show."""
    return rule.verdict in ("warned", "rejected")


def _sampled_labels(collector: Collector) -> Sequence[str]:
    """All in the artifact's order; of too many, those with the most boxes."""
    found = [label for label in collector.classes if collector.labels[label]]
    kept = {label for label, _ in collector.labels.most_common(SAMPLE)}
    return [label for label in found if label in kept]


def _look_up(output: Store, plan: Plan, collector: Collector, rules: Sequence[RuleResult]) -> dict[str, Shown]:
    """The planned ones of the images that the rules name, by URI."""
    wanted = {
        image: part
        for rule in rules
        for image in rule.examples[:EXAMPLES]
        if image.startswith(plan.input) and (part := collector.part_of(image.removeprefix(plan.input)))
    }
    names = {part.name for part in wanted.values()}
    found: dict[str, Shown] = {}
    for item in find_parts(output, plan, [part for part in plan.parts if part.name in names]):
        if isinstance(item.found, WholePart):
            for image, record in zip(item.images, item.found.records, strict=True):
                if record.image in wanted:
                    found[record.image] = Shown(image, record)
    return found
