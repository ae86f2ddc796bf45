"""Counts detections in histograms, so that two sets can be compared at any score threshold.

The stage `evaluate` counts the test split for the artifact, and the batch job counts each run, with this code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Ten bins are usual for measures of drift: enough to see a shift, and not too many for a few hundred boxes.
BINS = 10
# Scores are multiples of 1e-4; a score on a bin's lower edge must not be below it in binary.
_EDGE = 1e-9


def tenths(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bins (N,), 0 to 9, of values (N,) from 0 to 1; values outside are in the nearest bin."""
    return np.clip(np.floor(values * BINS + _EDGE), 0, BINS - 1).astype(np.int64)


def first_whole_bin(min_score: float) -> int:
    """Return the first bin whose scores are all from this threshold on, or 10 if there is none."""
    return int(np.ceil(min_score * BINS - _EDGE))


class Histograms:
    """Counts of detections, which are added batch by batch.

    boxes: int64 (C, 10), by class and score; sizes: int64 (10, 10), by score and the square root of the box's share of
    its image.
    """

    def __init__(self, classes: int) -> None:
        self.boxes = np.zeros((classes, BINS), np.int64)
        self.sizes = np.zeros((BINS, BINS), np.int64)

    def add(self, labels: NDArray[np.int64], scores: NDArray[np.float64], shares: NDArray[np.float64]) -> None:
        """Count detections: labels (N,) in 0..C-1, scores (N,) in 0..1, shares (N,) of the image's area in 0..1."""
        score, size = tenths(scores), tenths(np.sqrt(np.clip(shares, 0.0, 1.0)))
        for counts, rows, columns in ((self.boxes, labels, score), (self.sizes, score, size)):
            counts += np.bincount(rows * BINS + columns, minlength=counts.size).reshape(counts.shape)
