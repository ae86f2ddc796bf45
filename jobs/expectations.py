"""The rules that decide between "valid" and "rejected": a Great Expectations suite over a run's records.

Rows are judged in batches, so that memory does not grow with the run. What concerns the run as a whole
(completeness, uniqueness, the share of failures) is counted exactly against the plan, and judged as one row.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobs.errors import UsageError
from jobs.manifest import STATUSES, Plan, Record, RuleResult, Validation

if TYPE_CHECKING:
    import pandas as pd

# About 50 MB of box rows, with what Great Expectations makes of them.
BATCH_ROWS = 50_000
MAX_EXAMPLES = 20

RECORD_COLUMNS = ("image", "status")
BOX_COLUMNS = (
    "image", "label", "score", "x", "y", "width", "height", "right", "bottom", "image_width", "image_height",
)  # fmt: skip


@dataclass
class _Tally:
    """One rule over the batches so far."""

    sentence: str
    passed: bool = True
    checked: int = 0
    broken: int = 0
    observed: str = ""
    examples: list[str] = field(default_factory=list)

    def add_examples(self, images: list[str]) -> None:
        self.examples += [image for image in dict.fromkeys(images) if image not in self.examples]
        del self.examples[MAX_EXAMPLES:]


@dataclass
class _Count:
    """Images with one property, and the first few of them."""

    total: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, images: list[str]) -> None:
        self.total += len(images)
        self.examples += images[: MAX_EXAMPLES - len(self.examples)]


class Review:
    """Judges a run part by part: `add` each, then take the `verdict`."""

    def __init__(self, plan: Plan, classes: tuple[str, ...], max_failed: float) -> None:
        self._gx = _great_expectations()
        self._plan = plan
        self._max_failed = max_failed
        self._images = 0
        self._missing, self._repeated, self._unplanned, self._failed = _Count(), _Count(), _Count(), _Count()
        self._records: list[tuple[Any, ...]] = []
        self._boxes: list[tuple[Any, ...]] = []
        self._tallies: dict[str, _Tally] = {}

        expect = self._gx.expectations
        between = expect.ExpectColumnValuesToBeBetween
        above = expect.ExpectColumnPairValuesAToBeGreaterThanB
        among = expect.ExpectColumnValuesToBeInSet
        self._run_batch = self._table("run", {
            "complete": ("Every planned image has a record.", [between(column="missing", max_value=0)]),
            "unique": ("No image has more than one record.", [between(column="repeated", max_value=0)]),
            "planned": ("No record is of an image that was not planned.", [between(column="unplanned", max_value=0)]),
            "failed_share": (
                f"At most {100 * max_failed:g} % of the images failed.",
                [between(column="failed_share", max_value=max_failed)],
            ),
        })  # fmt: skip
        self._record_batch = self._table("records", {
            "status_known": (
                f"Every status is one of: {', '.join(STATUSES)}.", [among(column="status", value_set=list(STATUSES))],
            ),
        })  # fmt: skip
        self._box_batch = self._table("boxes", {
            "boxes_inside": (
                "Every box lies inside its image.",
                [
                    between(column="x", min_value=0),
                    between(column="y", min_value=0),
                    above(column_A="image_width", column_B="right", or_equal=True),
                    above(column_A="image_height", column_B="bottom", or_equal=True),
                ],
            ),
            "boxes_positive": (
                "Every box has a positive width and height.",
                [
                    between(column="width", min_value=0, strict_min=True),
                    between(column="height", min_value=0, strict_min=True),
                ],
            ),
            "scores_in_range": (
                f"Every score lies between {plan.min_score:.4g} and 1.",
                [between(column="score", min_value=plan.min_score, max_value=1)],
            ),
            "labels_known": (
                f"Every label is one of the artifact's {len(classes)} classes.",
                [among(column="label", value_set=list(classes))],
            ),
        })  # fmt: skip

    def add(self, planned: list[str], records: list[Record]) -> None:
        """Judge one part: the URIs of its images, and its records."""
        counts = Counter(record.image for record in records)
        wanted = set(planned)
        self._images += len(planned)
        self._missing.add([image for image in planned if image not in counts])
        self._repeated.add([image for image, count in counts.items() if count > 1])
        self._unplanned.add([image for image in counts if image not in wanted])
        self._failed.add([record.image for record in records if record.status != "ok"])
        for record in records:
            self._records.append((record.image, record.status))
            self._boxes += (
                (
                    record.image, box.label, box.score, box.x, box.y, box.width, box.height,
                    box.x + box.width, box.y + box.height, record.width, record.height,
                )
                for box in record.boxes
            )  # fmt: skip
        self._judge_rows(BATCH_ROWS)

    def verdict(self) -> Validation:
        """What the rules say of everything that was added."""
        self._judge_rows(1)
        run: dict[str, tuple[_Count, float]] = {
            "complete": (self._missing, self._missing.total),
            "unique": (self._repeated, self._repeated.total),
            "planned": (self._unplanned, self._unplanned.total),
            "failed_share": (self._failed, self._failed.total / self._images if self._images else 0.0),
        }
        row = tuple(value for _, value in run.values())
        self._judge(self._run_batch, [row], ("missing", "repeated", "unplanned", "failed_share"))
        for name, (count, value) in run.items():
            tally = self._tallies[name]
            tally.checked, tally.broken, tally.observed = self._images, count.total, f"{value:.4g}"
            tally.add_examples(count.examples)
        return Validation(
            run=self._plan.run,
            status="valid" if all(tally.passed for tally in self._tallies.values()) else "rejected",
            max_failed=self._max_failed,
            rules=[
                RuleResult(
                    rule=name,
                    sentence=tally.sentence,
                    passed=tally.passed,
                    checked=tally.checked,
                    broken=tally.broken,
                    observed=tally.observed or f"{tally.broken} of {tally.checked}",
                    examples=tally.examples,
                )
                for name, tally in self._tallies.items()
            ],
        )

    def _table(self, name: str, rules: dict[str, tuple[str, list[Any]]]) -> tuple[Any, Any]:
        """A batch definition, and the suite of expectations that judges its batches; both carry the rules' names."""
        suite = self._gx.context.suites.add(self._gx.suite(name))
        for rule, (sentence, expectations) in rules.items():
            self._tallies[rule] = _Tally(sentence)
            for expectation in expectations:
                expectation.meta = {"rule": rule}
                suite.add_expectation(expectation)
        asset = self._gx.source.add_dataframe_asset(name)
        return asset.add_batch_definition_whole_dataframe(name), suite

    def _judge_rows(self, at_least: int) -> None:
        """Judge the rows that wait, in full batches; a smaller rest is left while more may come (`at_least` > 1)."""
        while len(self._records) >= at_least:
            self._judge(self._record_batch, self._records[:BATCH_ROWS], RECORD_COLUMNS)
            del self._records[:BATCH_ROWS]
        while len(self._boxes) >= at_least:
            self._judge(self._box_batch, self._boxes[:BATCH_ROWS], BOX_COLUMNS)
            del self._boxes[:BATCH_ROWS]

    def _judge(self, table: tuple[Any, Any], rows: list[tuple[Any, ...]], columns: tuple[str, ...]) -> None:
        """One batch through its suite; its findings are added to the rules' tallies."""
        definition, suite = table
        frame: pd.DataFrame = self._gx.data_frame(rows, columns=columns)
        wanted: dict[str, Any] = {"result_format": "SUMMARY", "partial_unexpected_count": MAX_EXAMPLES}
        if "image" in columns:
            wanted["unexpected_index_column_names"] = ["image"]
        batch = definition.get_batch(batch_parameters={"dataframe": frame})
        results = batch.validate(suite, result_format=wanted).results
        rules = [result.expectation_config.meta["rule"] for result in results]
        for rule in set(rules):
            self._tallies[rule].checked += len(frame)
        for rule, result in zip(rules, results, strict=True):
            if "element_count" not in result.result:  # the rule could not be evaluated: a fault of ours
                raise RuntimeError(f"rule {rule}: {result.exception_info}")
            tally = self._tallies[rule]
            tally.passed &= result.success
            tally.broken += result.result["unexpected_count"]
            if "image" in columns:
                tally.add_examples([row["image"] for row in result.result["partial_unexpected_index_list"] or []])


@dataclass(frozen=True)
class _GreatExpectations:
    """The parts of Great Expectations and pandas that are used here; importing them takes seconds."""

    expectations: Any
    suite: Any
    context: Any
    source: Any
    data_frame: Any


def check_installed() -> None:
    """Raise UsageError where the extra is missing; imports nothing."""
    for package in ("great_expectations", "pandas"):
        if importlib.util.find_spec(package) is None:
            raise UsageError(
                f"the records cannot be validated: {package} is not installed; "
                "install the extra: pip install '.[quality]' in the project's folder"
            )


def _great_expectations() -> _GreatExpectations:
    check_installed()
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when it is imported: nothing leaves the machine
    import great_expectations as gx
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")  # in memory: nothing is written to the home folder
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return _GreatExpectations(
        gx.expectations, gx.ExpectationSuite, context, context.data_sources.add_pandas("run"), pd.DataFrame
    )
