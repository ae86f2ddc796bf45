"""The number of objects in all images, from the detector's counts in all of them and people's counts in a sample.

The estimator is the difference estimator of PPI++ (Angelopoulos, Duchi and Zrnic, 2023, arXiv:2311.01453) with its
power tuning; for a finite population it is the regression estimator of Cochran (Sampling Techniques, 1977, chapter 7).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from jobs.audit.intervals import CONFIDENCE


@dataclass(frozen=True)
class Total:
    """A total over all images: its estimate, and the limits of its interval."""

    estimate: float
    low: float
    high: float


def corrected_total(
    people: Sequence[float], detector: Sequence[float], images: int, detected: int, confidence: float = CONFIDENCE
) -> Total:
    """The number of objects in `images` images.

    people, detector: (n,) the numbers of objects that people counted, and that the detector found, in each image of a
    simple random sample without replacement, n at least 3 unless these are all; detected: what the detector found in
    all images.

    The estimate is images x (mean(people) - tuning x (mean(detector) - detected / images)). Tuning is the slope of
    people's counts over the detector's: a detector whose counts say nothing about people's gets 0, and the estimate is
    that of the sample alone. The interval rests on the central limit theorem, so it needs enough images with errors.
    """
    counted, found = np.asarray(people, np.float64), np.asarray(detector, np.float64)
    count = len(counted)
    if count == images:
        return Total(*[float(counted.sum())] * 3)
    spread = found - found.mean()
    variation = float(spread @ spread)
    tuning = float(spread @ counted) / variation if variation else 0.0
    estimate = float(counted.mean()) - tuning * (float(found.mean()) - detected / images)
    # Each image's error as the other images predict it: one with many objects draws the slope towards itself (HC3 of
    # MacKinnon and White, J. Econometrics 1985). Without this, nominal 95 % intervals cover 93 % of skewed counts.
    leverage = 1 / count + (spread**2 / variation if variation else 0.0)
    errors = (counted - counted.mean() - tuning * spread) / np.maximum(1 - leverage, 1 / count)
    deviation = math.sqrt(float(errors @ errors) * (1 - count / images)) / count
    quantile = float(student.ppf(0.5 + confidence / 2, count - (2 if variation else 1)))
    # The first term of Edgeworth's expansion (Hall, J. R. Statist. Soc. B 1992) moves the limits towards the long tail
    # of the errors. It is taken twice, because a sample rarely has the few images that make the tail, and it only
    # widens the interval here.
    skewness = float(np.mean(errors**3)) / max(float(np.mean(errors**2)) ** 1.5, 1e-12)
    shift = 2 * skewness * (1 + 2 * quantile**2) / (6 * math.sqrt(count))
    low = images * (estimate - deviation * (quantile + max(0.0, -shift)))
    high = images * (estimate + deviation * (quantile + max(0.0, shift)))
    # No total is below what people have seen in the sample.
    low, high = max(low, float(counted.sum())), max(high, float(counted.sum()))
    return Total(min(max(images * estimate, low), high), low, high)
