"""The probability that chance alone moves a run as far as was seen, and the correction for looking many times.

SciPy is imported when it is needed: it takes a moment, and comes with the extra `quality`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def more_often(seen: int, images: int, before: int, of: int) -> float:
    """The probability that a share of at least `seen` of `images` comes from the population in which `before` of `of`
    were counted: Fisher's exact test, one-sided."""
    from scipy.stats import hypergeom

    return float(hypergeom.sf(seen - 1, images + of, seen + before, images))


def histograms_differ(ours: Counts, theirs: Counts) -> float:
    """The probability that two histograms (B,) of one population differ this much: Pearson's chi-square test."""
    from scipy.stats import chi2_contingency

    table = np.stack([ours, theirs])
    table = table[:, table.sum(axis=0) > 0]
    return 1.0 if table.shape[1] < 2 else float(chi2_contingency(table).pvalue)


def psi_this_large(psi: float, bins: int, images: int, of: int) -> float:
    """The probability of at least this population stability index over `bins` bins by chance.

    Times n m / (n + m) it is distributed as chi-square with bins - 1 degrees of freedom (Yurdakul 2018, section 3).
    Boxes of one image depend on each other, so that images are counted.
    """
    from scipy.stats import chi2

    return 1.0 if bins < 2 or not images or not of else float(chi2.sf(psi * images * of / (images + of), bins - 1))


def means_differ(mean: float, expected: float, variance: float, images: int, of: int) -> float:
    """The probability that the means of two samples of one population, with this variance, differ this much."""
    from scipy.stats import norm

    spread = (variance * (1 / images + 1 / of)) ** 0.5
    return 1.0 if spread == 0 else float(2 * norm.sf(abs(mean - expected) / spread))


def holm(chances: Sequence[float]) -> list[float]:
    """The probabilities, corrected for their number (Holm 1979): below a level with at most the probability of that
    level for all of them together."""
    order = sorted(range(len(chances)), key=lambda place: chances[place])
    corrected, most = [0.0] * len(chances), 0.0
    for rank, place in enumerate(order):
        most = max(most, min(1.0, (len(chances) - rank) * chances[place]))
        corrected[place] = most
    return corrected
