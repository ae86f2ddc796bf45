"""The rules, each with a sentence for people and the expectations that decide it."""

from __future__ import annotations

from typing import Any

from detector.common.quality.judge import Rule, Severity
from detector.runtime.artifact import Artifact
from jobs.formats import STATUSES, Plan
from jobs.rules.policy import MAX_PSI, MAX_RATIO, THINNEST, Policy


def run_rules(expect: Any, policy: Policy) -> list[Rule]:
    """The rules over one row for the whole run. Drift is null when it cannot be judged, and a null breaks no rule."""
    between = expect.ExpectColumnValuesToBeBetween

    def severity(name: str) -> Severity:
        return "reject" if name in policy.strict else "warn"

    def drift(name: str, sentence: str, **limits: float) -> Rule:
        return Rule(name, sentence, [between(column=name, **limits)], severity(name))

    return [
        Rule("complete", "Every planned image has a record.", [between(column="missing", max_value=0)]),
        Rule("unique", "No image has more than one record.", [between(column="repeated", max_value=0)]),
        Rule("planned", "No record is of an image that was not planned.", [between(column="unplanned", max_value=0)]),
        Rule(
            "failed_share",
            f"At most {100 * policy.max_failed:g} % of the images failed.",
            [between(column="failed_share", max_value=policy.max_failed)],
        ),
        drift(
            "boxes_per_image_drift",
            f"Boxes an image: within a factor of {MAX_RATIO:g} of the artifact's test images.",
            min_value=1 / MAX_RATIO,
            max_value=MAX_RATIO,
        ),
        drift(
            "label_drift",
            f"Labels occur as often as on the artifact's test images (PSI at most {MAX_PSI:g}).",
            max_value=MAX_PSI,
        ),
        drift(
            "score_drift",
            f"Scores are spread as on the artifact's test images (PSI at most {MAX_PSI:g}).",
            max_value=MAX_PSI,
        ),
    ]


def record_rules(expect: Any, artifact: Artifact) -> list[Rule]:
    """The rules over one row for each record."""
    return [
        Rule(
            "status_known",
            f"Every status is one of: {', '.join(STATUSES)}.",
            [expect.ExpectColumnValuesToBeInSet(column="status", value_set=list(STATUSES))],
        ),
        Rule(
            "records_consistent",
            "An image that is ok has a size, no error, and boxes with the best score first; any other has the error of "
            "its status, no size and no boxes.",
            [expect.ExpectColumnValuesToBeInSet(column="consistent", value_set=[True])],
        ),
        Rule(
            "boxes_per_image",
            f"No image has more than {artifact.max_detections} boxes, the artifact's most.",
            [expect.ExpectColumnValuesToBeBetween(column="boxes", max_value=artifact.max_detections)],
        ),
    ]


def box_rules(expect: Any, plan: Plan, artifact: Artifact) -> list[Rule]:
    """The rules over one row for each box."""
    between = expect.ExpectColumnValuesToBeBetween
    above = expect.ExpectColumnPairValuesAToBeGreaterThanB
    return [
        Rule(
            "boxes_inside",
            "Every box lies inside its image.",
            [
                between(column="x", min_value=0),
                between(column="y", min_value=0),
                above(column_A="image_width", column_B="right", or_equal=True),
                above(column_A="image_height", column_B="bottom", or_equal=True),
            ],
        ),
        Rule(
            "boxes_thick",
            f"Every box is at least {THINNEST:g} pixel wide and high.",
            [between(column="width", min_value=THINNEST), between(column="height", min_value=THINNEST)],
        ),
        Rule(
            "scores_in_range",
            f"Every score lies between {plan.min_score} and 1.",
            [between(column="score", min_value=plan.min_score, max_value=1)],
        ),
        Rule(
            "labels_known",
            f"Every label is one of the artifact's {len(artifact.classes)} classes.",
            [expect.ExpectColumnValuesToBeInSet(column="label", value_set=list(artifact.classes))],
        ),
        Rule(
            "boxes_apart",
            f"No two boxes of one label in an image overlap by more than IoU {artifact.most_overlap:g}.",
            [expect.ExpectColumnValuesToBeInSet(column="apart", value_set=[True])],
        ),
    ]
