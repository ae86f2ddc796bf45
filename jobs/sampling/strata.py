"""Ways to divide a run's images into strata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jobs.formats import Record
from jobs.published_run import PublishedRun

NOTHING = "no boxes"
NEAR, FAR = "near the operating score", "further from the operating score"
# Scores are probabilities where the detector was calibrated. Report pages call the same distance doubtful.
MOST_DOUBT = 0.15
# How much more often a doubtful image is drawn. Others stay in the draw, so that it can be used for estimates.
EMPHASIS = 4.0


@dataclass(frozen=True)
class Strata:
    """of: the name of the stratum of a record; emphasis: as `draw` takes it."""

    of: Callable[[Record], str]
    emphasis: Mapping[str, float]


def random(_: PublishedRun) -> Strata:
    """One stratum."""
    return Strata(lambda record: "all", {})


def by_label(run: PublishedRun) -> Strata:
    """By the label of an image that has the fewest boxes in the run. With its most frequent label, images of a rare one
    would hide among those of the label that they mostly show."""
    counts = run.manifest.boxes

    def of(record: Record) -> str:
        labels = {box.label for box in record.boxes}
        return f"label {min(labels, key=lambda label: (counts.get(label, 0), label))}" if labels else NOTHING

    return Strata(of, {})


def by_doubt(run: PublishedRun) -> Strata:
    """By the distance of an image's best score from the artifact's operating score."""
    operating = run.operating_score()

    def of(record: Record) -> str:
        if not record.boxes:
            return NOTHING
        best = max(box.score for box in record.boxes)
        return NEAR if round(abs(best - operating), 4) <= MOST_DOUBT else FAR

    return Strata(of, {NEAR: EMPHASIS})
