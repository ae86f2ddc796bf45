"""The lowest score from which on a run is precise enough, by fixed-sequence testing.

Scores are tried from the highest to the lowest, in an order that is fixed before anybody has looked at a box. A test
that refuses "precision at this score and above is below the wanted one" accepts the score, and the first test that does
not ends the sequence. So looking at many scores costs nothing (Maurer, Hothorn and Lehmacher 1995). Two sequences share
the chance of an error, one from a high score and one from the middle, because a few wrong boxes end the first one where
precision does not depend on the score (Angelopoulos, Bates, Candès, Jordan and Lei, Learn then Test, 2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.audit.intervals import CONFIDENCE, Stratum, lower_limit

# Scores have steps of 0.0001, so that they are whole numbers here.
STEPS = 10_000
# Scores that are tried at most: each has another twentieth of the run's boxes.
_TRIED = 20
# The first test expects this many times the boxes with which it could just pass if all were right. With fewer, one
# wrong box would end the sequence at once.
_FIRST = 3
_STARTS = 2


@dataclass(frozen=True)
class ScoredStratum:
    """A stratum, with scores as whole numbers of 1 / STEPS.

    sizes: (STEPS + 1,) number of boxes with each score; scores, right: (n,) those of the drawn boxes, and whether they
    are right.
    """

    sizes: NDArray[np.int64]
    scores: NDArray[np.int64]
    right: NDArray[np.bool_]

    def above(self, score: int) -> Stratum:
        """The boxes with at least this score. Given their number, the drawn ones are a simple random sample of them."""
        kept = self.scores >= score
        return Stratum(int(self.sizes[score:].sum()), int(kept.sum()), int(self.right[kept].sum()))


def least_score(strata: Sequence[ScoredStratum], precision: float, confidence: float = CONFIDENCE) -> int | None:
    """The lowest score, in 1 / STEPS, at and above which at least `precision` of the boxes are right; None: not shown.

    precision: above 0 and below 1. Wrong with probability at most 1 - confidence.
    """
    tried = _sequence(strata, precision, confidence)
    starts = sorted({number * len(tried) // _STARTS for number in range(_STARTS)}) if tried else []
    alpha = (1 - confidence) / max(1, len(starts))
    accepted: set[int] = set()
    for start in starts:
        for score in tried[start:]:
            if score in accepted:
                continue
            if lower_limit([stratum.above(score) for stratum in strata], alpha) < precision:
                break
            accepted.add(score)
    return min(accepted, default=None)


def _sequence(strata: Sequence[ScoredStratum], precision: float, confidence: float) -> list[int]:
    """The scores to try, highest first: they depend on the run and on how many boxes were drawn, not on which ones."""
    sizes = np.sum([stratum.sizes for stratum in strata], axis=0)
    total = int(sizes.sum())
    drawn = sum(len(stratum.scores) for stratum in strata)
    if not drawn:
        return []
    least = _FIRST * math.log(1 - confidence) / math.log(precision)
    above = np.cumsum(sizes[::-1])[::-1]  # boxes with at least each score
    tried = {
        int(np.flatnonzero(above >= total * number / _TRIED)[-1])
        for number in range(1, _TRIED + 1)
        if drawn * number / _TRIED >= least or number == _TRIED
    }
    return sorted(tried, reverse=True)
