"""Judges a run part by part; memory does not grow with the run.

Records and boxes are judged in batches of rows, and the results are added up. What concerns the whole run is
counted against the plan, and judged on one row for the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from detector.common.quality.engine import missing_package, start
from detector.common.quality.judge import MAX_EXAMPLES, Finding, Judge
from detector.common.text import visible
from detector.runtime.artifact import Artifact
from jobs.errors import UsageError
from jobs.formats import (
    QUALITY_SINCE,
    Plan,
    PlannedImage,
    PlanPart,
    Record,
    RuleResult,
    RunProfile,
    Validation,
)
from jobs.profile import Profiles
from jobs.rules.drift import Drift, first_compared
from jobs.rules.frames import Batch
from jobs.rules.policy import BOX_RULES, Policy
from jobs.rules.rules import box_rules, drift_rules, record_rules, run_rules
from jobs.rules.subjects import WHOLE, Subject, compared_rules, judged_depth, subjects

# 50,000 records with five boxes each make 250,000 rows: about 60 MB with what Great Expectations adds.
BATCH_RECORDS = 50_000
BATCH_BOXES = 250_000
# Most prefixes that a result names in its one line.
MOST_NAMED = 3

# The rules whose images are counted while parts are added, and under which name.
COUNTED = {"complete": "missing", "unique": "repeated", "planned": "unplanned", "failed_share": "failed"}


def check_installed(problem: str = "the records cannot be validated") -> None:
    """Raise UsageError, which begins with `problem`, where the extra is missing; imports nothing."""
    package = missing_package()
    if package is not None:
        raise UsageError(
            f"{problem}: {package} is not installed; "
            "install the extra: pip install '.[quality]' in the project's folder"
        )


class Review:
    """Judges a run part by part: `add` each in order, then take the `verdict`."""

    def __init__(self, plan: Plan, artifact: Artifact, policy: Policy, earlier: RunProfile | None = None) -> None:
        """earlier: the profile of the run before, which drift is measured from in place of the artifact's baseline."""
        check_installed()
        self._plan, self._artifact, self._policy = plan, artifact, policy
        self._engine = start()
        expect = self._engine.expectations
        self._run = Judge(self._engine, "run", run_rules(expect, policy))
        self._records = Judge(self._engine, "records", record_rules(expect, artifact))
        self._boxes = Judge(self._engine, "boxes", box_rules(expect, plan, artifact))
        self._compared = compared_rules(plan)
        self._drift = Judge(self._engine, "drift", drift_rules(expect, policy, self._compared))
        self._earlier = earlier
        depth = judged_depth(plan, policy.prefix_depth)
        self.profiles = Profiles(plan, artifact.classes, first_compared(artifact, plan.min_score), depth)
        self._batch = Batch()
        self._images = 0
        self._counts = dict.fromkeys(COUNTED.values(), 0)
        self._examples: dict[str, list[str]] = {name: [] for name in COUNTED.values()}

    def add(self, part: PlanPart, images: Sequence[PlannedImage], records: Sequence[Record]) -> None:
        """Judge one part: its planned images, and its records."""
        planned = [self._plan.input + image.key for image in images]
        counts = Counter(record.image for record in records)
        wanted = set(planned)
        found = {
            "missing": [image for image in planned if image not in counts],
            "repeated": [image for image, count in counts.items() if count > 1],
            "unplanned": [image for image in counts if image not in wanted],
            "failed": [record.image for record in records if record.status != "ok"],
        }
        for name, names in found.items():
            self._counts[name] += len(names)
            examples = self._examples[name]
            examples += names[: MAX_EXAMPLES - len(examples)]
        self._images += len(planned)
        self.profiles.add(records)
        self._batch.add(records)
        if self._batch.records >= BATCH_RECORDS or self._batch.boxes >= BATCH_BOXES:
            self._judge_batch()

    def _judge_batch(self) -> None:
        batch, self._batch = self._batch, Batch()
        self._records.judge(batch.record_frame(), batch.images)
        self._boxes.judge(batch.box_frame(self._artifact.most_overlap, self._artifact.max_detections), batch.images)

    def verdict(self) -> Validation:
        """What the rules say about all parts that were added."""
        self._judge_batch()
        self._judge_run()
        found = subjects(self.profiles, self._plan, self._artifact, self._earlier)
        self._judge_drift(found)
        results = [
            *self._counted(),
            *(
                _result(finding, f"{finding.broken:,} of {finding.checked:,}")
                for judge in (self._records, self._boxes)
                for finding in judge.findings.values()
            ),
            *(self._drift_result(rule, found) for rule in self._compared),
        ]
        return Validation(
            run=self._plan.run,
            status="rejected" if any(result.verdict == "rejected" for result in results) else "valid",
            max_failed=self._policy.max_failed,
            strict=list(self._policy.strict),
            rules=results,
        )

    def _judge_run(self) -> None:
        import pandas as pd

        failed = self._counts["failed"]
        row = {**self._counts, "failed_share": failed / self._images if self._images else 0.0}
        # The examples of these rules are in `_examples`: a row for the whole run names no image.
        self._run.judge(pd.DataFrame([row], dtype=np.float64).assign(subject=0), [""])

    def _judge_drift(self, found: Sequence[Subject]) -> None:
        import pandas as pd

        rows = pd.DataFrame([subject.row() for subject in found], columns=list(self._compared), dtype=np.float64)
        self._drift.judge(rows.assign(subject=range(len(found))), [subject.name for subject in found])

    def _drift_result(self, rule: str, found: Sequence[Subject]) -> RuleResult:
        """The result of a drift rule: the run's measure, and those of the prefixes that break the rule, with the worst
        images of both as examples."""
        finding = self._drift.findings[rule]
        alarmed = [subject for subject in found if subject.name in finding.examples]  # at most MAX_EXAMPLES
        whole, prefixes = found[0], [subject for subject in alarmed if subject.name != WHOLE]
        observed = _observed(whole.measures[rule])
        if len(found) > 1:
            observed += "; " + _observed_of_prefixes(rule, found, prefixes, finding.broken - (whole in alarmed))
        # Runs of an older version named the whole run by one empty text: their published digests hold it.
        finding.examples = [""] if finding.broken and self._plan.records_version < QUALITY_SINCE else []
        if len(found) > 1 or rule not in BOX_RULES:
            each = -(-MAX_EXAMPLES // max(1, len(alarmed)))
            for subject in prefixes or alarmed:
                finding.add_examples(subject.examples(rule)[:each])
        note = self.profiles.note(self._earlier)
        observed += f"; {note}" if note else ""
        skipped = all(subject.measures[rule].value is None for subject in found)
        return _result(finding, observed, skipped=skipped)

    def _counted(self) -> list[RuleResult]:
        """The results of the rules whose examples are images that were counted in `add`."""
        results = []
        for rule, name in COUNTED.items():
            finding, broken = self._run.findings[rule], self._counts[name]
            finding.checked, finding.broken, finding.examples = self._images, broken, self._examples[name]
            share = f" ({100 * broken / (self._images or 1):.2f} %)" if rule == "failed_share" else ""
            results.append(_result(finding, f"{broken:,} of {self._images:,}{share}"))
        return results


def _observed(drift: Drift) -> str:
    return drift.text if drift.value is None else f"{drift.value:.2f} ({drift.text})"


def _observed_of_prefixes(rule: str, found: Sequence[Subject], alarmed: Sequence[Subject], broken: int) -> str:
    """What was found in the prefixes. alarmed: those that break the rule, at most 20; broken: their number."""
    whole, *prefixes = (subject.measures[rule] for subject in found)
    if all(drift.value is None for drift in prefixes):
        reason = prefixes[0].text
        return "no prefix is judged" + (f": {reason}" if reason != whole.text else "")
    if not broken:
        return "no prefix breaks the rule"
    named = [f"{visible(subject.name)} {_observed(subject.measures[rule])}" for subject in alarmed[:MOST_NAMED]]
    return f"{broken:,} of {len(prefixes):,} prefixes: " + "; ".join(named)


def _result(finding: Finding, observed: str, *, skipped: bool = False) -> RuleResult:
    rule = finding.rule
    return RuleResult(
        rule=rule.name,
        sentence=rule.sentence,
        severity=rule.severity,
        verdict="skipped" if skipped else finding.verdict,
        checked=finding.checked,
        broken=finding.broken,
        observed=observed,
        examples=finding.examples,
    )
