"""The rules, each with a sentence for people and the expectations that decide it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detector.common.quality.judge import Rule
from detector.runtime.artifact import Artifact
from jobs.formats import STATUSES, Plan
from jobs.rules.policy import BOX_RULES, MAX_FRAME_SHIFT, MAX_PSI, MAX_RATIO, MAX_SHIFT, TAIL, THINNEST, Policy


def run_rules(expect: Any, policy: Policy) -> list[Rule]:
    """The rules over one row for the whole run."""
    between = expect.ExpectColumnValuesToBeBetween
    return [
        Rule("complete", "Every planned image has a record.", [between(column="missing", max_value=0)]),
        Rule("unique", "No image has more than one record.", [between(column="repeated", max_value=0)]),
        Rule("planned", "No record is of an image that was not planned.", [between(column="unplanned", max_value=0)]),
        Rule(
            "failed_share",
            f"At most {100 * policy.max_failed:g} % of the images failed.",
            [between(column="failed_share", max_value=policy.max_failed)],
        ),
    ]


# What each drift rule demands, and the limits of its measure.
_TAIL = f"At most {100 * (TAIL + MAX_SHIFT):g} % of the images are"
_REFERENCE = "the artifact's test images, or of the run before (--since)"
# The sentence that follows for the rules over boxes, where prefixes are judged.
_PREFIXES = "A prefix is compared with that of the run before (--since)."
_DRIFT: dict[str, tuple[str, dict[str, float]]] = {
    "boxes_per_image_drift": (
        f"Boxes an image: within a factor of {MAX_RATIO:g} of the artifact's test images.",
        {"min_value": 1 / MAX_RATIO, "max_value": MAX_RATIO},
    ),
    "label_drift": (
        f"Labels occur as often as on the artifact's test images (PSI at most {MAX_PSI:g}).",
        {"max_value": MAX_PSI},
    ),
    "score_drift": (
        f"Scores are spread as on the artifact's test images (PSI at most {MAX_PSI:g}).",
        {"max_value": MAX_PSI},
    ),
    "blur_drift": (f"{_TAIL} as blurred as one in ten of {_REFERENCE}.", {"max_value": MAX_SHIFT}),
    "darkness_drift": (f"{_TAIL} as dark as one in ten of {_REFERENCE}.", {"max_value": MAX_SHIFT}),
    "glare_drift": (f"{_TAIL} as overexposed as one in ten of {_REFERENCE}.", {"max_value": MAX_SHIFT}),
    "colour_drift": (
        f"{_TAIL} as red, green, blue or yellow as one in ten of {_REFERENCE}.", {"max_value": MAX_SHIFT}
    ),
    "portrait_drift": (
        f"The share of images higher than wide is within {100 * MAX_FRAME_SHIFT:g} points of that of {_REFERENCE}.",
        {"max_value": MAX_FRAME_SHIFT},
    ),
    "frame_drift": (
        f"At most {100 * MAX_FRAME_SHIFT:g} % of the images have another size or aspect than in the run before.",
        {"max_value": MAX_FRAME_SHIFT},
    ),
    "near_duplicates": (
        f"Near-duplicates are at most {100 * MAX_SHIFT:g} points more of the images than of {_REFERENCE}.",
        {"max_value": MAX_SHIFT},
    ),
}  # fmt: skip


def within_limits(rule: str, value: float) -> bool:
    """Whether a measure of a drift rule keeps its limits."""
    limits = _DRIFT[rule][1]
    return limits.get("min_value", value) <= value <= limits["max_value"]


def drift_rules(expect: Any, policy: Policy, names: Sequence[str]) -> list[Rule]:
    """These drift rules, over a row for the run and one for each prefix. A measure is null where it cannot be judged,
    or where chance may be the reason, and a null breaks no rule.

    Where only the rules over boxes are judged, the run is of an older version, which has no prefixes: its sentences
    stay those that it was published with.
    """
    older = set(names) <= set(BOX_RULES)
    return [
        Rule(
            name,
            _DRIFT[name][0] if older or name not in BOX_RULES else f"{_DRIFT[name][0]} {_PREFIXES}",
            [expect.ExpectColumnValuesToBeBetween(column=name, **_DRIFT[name][1])],
            "reject" if name in policy.strict else "warn",
        )
        for name in names
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
