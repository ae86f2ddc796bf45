"""Judges the rules of one table batch by batch, so that memory does not grow with the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from detector.common.quality.engine import Engine

if TYPE_CHECKING:
    import pandas as pd

MAX_EXAMPLES = 20
# The column with the number of a row's subject, such as an image.
SUBJECT = "subject"

Severity = Literal["reject", "warn"]


@dataclass(frozen=True)
class Rule:
    """A rule for a table: it holds if all of its expectations, which are Great Expectations' own, hold."""

    name: str
    sentence: str
    expectations: Sequence[Any]
    severity: Severity = "reject"


@dataclass
class Finding:
    """The result of one rule for all batches so far.

    checked: the number of rows; broken: the number that break the rule; examples: names of some of their subjects.
    """

    rule: Rule
    passed: bool = True
    checked: int = 0
    broken: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> Literal["passed", "warned", "rejected"]:
        """Return what the finding means for the whole table."""
        return "passed" if self.passed else "rejected" if self.rule.severity == "reject" else "warned"

    def summary(self) -> dict[str, Any]:
        """Return the finding as plain data for a JSON file that people read."""
        return {
            "rule": self.rule.name,
            "sentence": self.rule.sentence,
            "verdict": self.verdict,
            "checked": self.checked,
            "broken": self.broken,
            "examples": self.examples,
        }

    def add_examples(self, names: Sequence[str]) -> None:
        """Add the names that are new, up to MAX_EXAMPLES."""
        self.examples += [name for name in dict.fromkeys(names) if name not in self.examples]
        del self.examples[MAX_EXAMPLES:]


class Judge:
    """Judges a table: `judge` each batch, then read `findings`, by rule, in the rules' order."""

    def __init__(self, engine: Engine, table: str, rules: Sequence[Rule]) -> None:
        from great_expectations import ExpectationSuite

        self.table = table
        self.findings = {rule.name: Finding(rule) for rule in rules}
        self._asked: set[tuple[str, int]] = set()
        self._suite = engine.context.suites.add(ExpectationSuite(table))
        for rule in rules:
            for number, expectation in enumerate(rule.expectations):
                self._asked.add((rule.name, number))
                expectation.meta = {"rule": rule.name, "number": number}
                expectation.description = rule.sentence
                expectation.severity = {"reject": "critical", "warn": "warning"}[rule.severity]
                self._suite.add_expectation(expectation)
        asset = engine.source.add_dataframe_asset(table)
        self._definition = asset.add_batch_definition_whole_dataframe(table)

    def judge(self, frame: pd.DataFrame, subjects: Sequence[str]) -> None:
        """Judge one batch; its column `subject` holds the number of a row's subject in `subjects`."""
        batch = self._definition.get_batch(batch_parameters={"dataframe": frame})
        # If it were asked for the names, it would make a dictionary of every row that breaks a rule, which takes 70
        # times as long.
        results = batch.validate(self._suite, result_format="COMPLETE").results
        answered = {tuple(result.expectation_config.meta.values()) for result in results}
        if answered != self._asked or len(results) != len(self._asked):  # a missing answer must not count as success
            raise RuntimeError(f"{self.table}: asked {sorted(self._asked)}, answered {sorted(answered)}")
        for finding in self.findings.values():
            finding.checked += len(frame)
        for result in results:
            name = result.expectation_config.meta["rule"]
            counts = result.result
            if "element_count" not in counts:  # it could not be evaluated, which is a bug
                raise RuntimeError(f"rule {name}: {result.exception_info}")
            finding = self.findings[name]
            finding.passed &= result.success
            finding.broken += counts["unexpected_count"]
            rows = counts["unexpected_index_list"] or []
            finding.add_examples([subjects[i] for i in frame[SUBJECT].loc[rows].unique()[:MAX_EXAMPLES]])
