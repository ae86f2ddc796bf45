"""The statements of an audit as tables of words, for the terminal and for the report."""

from __future__ import annotations

from jobs.audit.verdicts import NOT_JUDGED, UNCLEAR
from jobs.formats import Audit, CountStatement, MissedStatement, PrecisionStatement

RIGHT, FROM, MISSED, COUNTS = "Right boxes", "Scores to trust", "Missed objects", "How many objects"
# What each table says.
WORDS = {
    RIGHT: "the share of the boxes that are right lies in this range.",
    FROM: "from this score on, at least this share of the boxes is right. Labels that are not here: not shown.",
    MISSED: "the share of the images in which at least one object was missed lies in this range. Labels that are not "
    "here: none was missed in the sample.",
    COUNTS: "the number of objects in all images lies in this range. Labels that are not here: too few to say, or "
    "none.",
}
ALL = "all labels"


def statements(audit: Audit) -> dict[str, list[list[str]]]:
    """The tables that are not empty, by title, each with a row of heads first."""
    tables = {
        RIGHT: [["label", "score from", "boxes", "judged", "right", "unclear", "share that is right"]],
        FROM: [["label", "share", "score from", "boxes"]],
        MISSED: [["label", "images judged", "with a missed object", "unclear", "share of images"]],
        COUNTS: [["label", "boxes found", "objects"]],
    }
    tables[RIGHT] += [_precision(one) for one in audit.precision]
    tables[FROM] += [
        [
            one.label or ALL,
            f"{100 * one.precision:.4g} %",
            "not shown" if one.score is None else f"{one.score:.4g}",
            f"{one.boxes:,}",
        ]
        for one in audit.thresholds
        if one.label is None or one.score is not None
    ]
    tables[MISSED] += [_missed(one) for one in audit.missed if one.label is None or one.with_missed or one.unclear]
    tables[COUNTS] += [
        _count(one) for one in audit.counts if one.label is None or (one.reason is None and (one.detected or one.high))
    ]
    return {title: rows for title, rows in tables.items() if len(rows) > 1}


def share_range(low: float, high: float) -> str:
    """The range of a share, in percent."""
    ends = dict.fromkeys(f"{100 * end:.1f}" for end in (low, high))
    return f"{' to '.join(ends)} %"


def _precision(one: PrecisionStatement) -> list[str]:
    unclear = one.verdicts[UNCLEAR] + one.verdicts[NOT_JUDGED]
    return [
        one.label or ALL, f"{one.min_score:.4g}", f"{one.boxes:,}", f"{one.drawn - one.verdicts[NOT_JUDGED]:,}",
        f"{one.verdicts['right']:,}", f"{unclear:,}", share_range(one.low, one.high),
    ]  # fmt: skip


def _missed(one: MissedStatement) -> list[str]:
    return [
        one.label or ALL,
        f"{one.drawn:,}",
        f"{one.with_missed:,}",
        f"{one.unclear:,}",
        share_range(one.low, one.high),
    ]


def _count(one: CountStatement) -> list[str]:
    ends = dict.fromkeys(f"{end:,.0f}" for end in (one.low, one.high) if end is not None)
    return [one.label or ALL, f"{one.detected:,}", one.reason or " to ".join(ends)]
