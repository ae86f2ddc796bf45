"""What a set of detections looks like, counted in a form in which two sets can be compared at any score threshold.

`export` counts the test split into the artifact, and the batch job counts each run, with this one piece of code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Ten bins are the custom for drift measures: fine enough to see a shift, coarse enough for some hundred boxes.
BINS = 10
# Scores are multiples of 1e-4: a bin's lower edge must not fall below it in binary.
_EDGE = 1e-9


def tenths(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """(N,) values from 0 to 1 -> (N,) bins 0 to 9; what lies outside counts in the nearest."""
    return np.clip(np.floor(values * BINS + _EDGE), 0, BINS - 1).astype(np.int64)


def first_whole_bin(min_score: float) -> int:
    """The first bin of scores that a set with this threshold fills whole; 10 when there is none."""
    return int(np.ceil(min_score * BINS - _EDGE))


class Histograms:
    """Counts of detections, added up batch by batch.

    boxes int64 (C, 10): by class and score; sizes int64 (10, 10): by score and the square root of the box's share of
    its image.
    """

    def __init__(self, classes: int) -> None:
        self.boxes = np.zeros((classes, BINS), np.int64)
        self.sizes = np.zeros((BINS, BINS), np.int64)

    def add(self, labels: NDArray[np.int64], scores: NDArray[np.float64], shares: NDArray[np.float64]) -> None:
        """labels (N,) in 0..C-1, scores (N,) in 0..1, shares (N,): each box's part of its image's area, 0..1."""
        score, size = tenths(scores), tenths(np.sqrt(np.clip(shares, 0.0, 1.0)))
        for counts, rows, columns in ((self.boxes, labels, score), (self.sizes, score, size)):
            counts += np.bincount(rows * BINS + columns, minlength=counts.size).reshape(counts.shape)
