"""Confidence limits of a share in a finite population, from a stratified random sample without replacement.

From one stratum the limits are those of Clopper and Pearson (Biometrika 1934), with the hypergeometric distribution in
the place of the binomial one: a test is inverted, and the limit is exact. Over several strata the test's p-value is at
most Chernoff's bound, for the least favourable division of the share among the strata; so the limit is conservative.
No limit rests on a normal approximation, and all hold for any sample size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import hypergeom

# Every statement holds with this confidence by itself.
CONFIDENCE = 0.95
# Beyond this, exp() overflows in float64.
_MOST_EXPONENT = 700.0


@dataclass(frozen=True)
class Stratum:
    """A stratum: the number of its items, how many were drawn, and what people said of these.

    good: items that have the property; unclear: items of which nobody could tell. The others do not have it.
    """

    size: int
    drawn: int
    good: int
    unclear: int = 0


def interval(strata: Sequence[Stratum], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """(low, high): limits of the share of good items over all strata, both 0 to 1; (0, 1) without items.

    Each limit fails with probability at most (1 - confidence) / 2. Unclear items count as not good in the lower limit
    and as good in the upper one.
    """
    total = sum(stratum.size for stratum in strata)
    if not total:
        return 0.0, 1.0
    alpha = (1 - confidence) / 2
    bad = [Stratum(s.size, s.drawn, s.drawn - s.good - s.unclear) for s in strata]
    return _least(strata, alpha) / total, (total - _least(bad, alpha)) / total


def lower_limit(strata: Sequence[Stratum], alpha: float) -> float:
    """A lower limit, 0 to 1, of the share of good items: too high with probability at most `alpha`; 0 without items.

    Unclear items, and all items of a stratum that nothing was drawn from, count as not good.
    """
    total = sum(stratum.size for stratum in strata)
    return _least(strata, alpha) / total if total else 0.0


def _least(strata: Sequence[Stratum], alpha: float) -> float:
    """A lower limit of the number of good items."""
    known = sum(stratum.good for stratum in strata if stratum.drawn == stratum.size)
    sampled = [stratum for stratum in strata if 0 < stratum.drawn < stratum.size]
    if not sampled:
        return known
    return known + (_exact(sampled[0], alpha) if len(sampled) == 1 else _chernoff(sampled, alpha))


def _exact(stratum: Stratum, alpha: float) -> int:
    """The least number of good items in a stratum with which drawing this many is no surprise."""
    low, high = stratum.good, stratum.size - (stratum.drawn - stratum.good)
    while low < high:  # the tail grows with the number of good items
        middle = (low + high) // 2
        if hypergeom.sf(stratum.good - 1, stratum.size, middle, stratum.drawn) > alpha:
            high = middle
        else:
            low = middle + 1
    return low


def _chernoff(strata: Sequence[Stratum], alpha: float) -> float:
    """A lower limit of the number of good items over several strata.

    With p the shares of good items, W the sizes, n the numbers drawn, and T = sum of W good / n, Chernoff's bound of
    the tail of T is the exponential of

        -a T + sum of n log(1 + p (exp(a W / n) - 1))    for any a > 0,

    also without replacement (Hoeffding, JASA 1963, theorem 4). Its largest value over all p with a sum of W p of at
    most K is at most b K plus the sum, over the strata, of the largest value of n log(1 + p (...)) - b W p, for any
    b > 0 (Lagrange). So K is refused when that is below log(alpha), and any a and b give a limit; the best one is
    looked for here, and it fails with probability at most `alpha` even where the search ends early.
    """
    sizes = np.array([stratum.size for stratum in strata], np.float64)
    drawn = np.array([stratum.drawn for stratum in strata], np.float64)
    good = np.array([stratum.good for stratum in strata], np.float64)
    seen = float(good.sum())
    if not seen:
        return 0.0
    # In units in which all items weigh 1 together, and a and b are some multiples of the number drawn.
    total, count = sizes.sum(), drawn.sum()
    weights = sizes / total
    each = weights / drawn
    observed = float(each @ good)

    def negative(logs: NDArray[np.float64]) -> float:
        a, b = count * np.exp(np.clip(logs, -20, 20))
        exponents = a * each
        if exponents.max() > _MOST_EXPONENT:
            return math.inf
        growth = np.expm1(exponents)
        p = np.clip(1 / (b * each) - 1 / growth, 0, 1)  # where the derivative is 0
        largest = drawn * np.log1p(p * growth) - b * weights * p
        return -float((math.log(alpha) + a * observed - largest.sum()) / b)

    # The best a and b of one stratum with this share, whose limit is taken from the normal distribution, are near.
    share = min(observed, 1 - 1 / count)
    limit = max(share - math.sqrt(-2 * math.log(alpha) * share * (1 - share) / count), share / 20)
    growth = share * (1 - limit) / (limit * (1 - share)) - 1
    start = np.log([math.log1p(growth), growth / (1 + limit * growth)])
    simplex = start + 0.3 * np.array([[0, 0], [1, 0], [0, 1]])
    options = {"initial_simplex": simplex, "xatol": 1e-2, "fatol": 1e-4}
    found = minimize(negative, start, method="Nelder-Mead", options=options)
    return max(seen, -float(found.fun) * float(total))
