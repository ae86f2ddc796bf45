"""Says how far a mean AP could be off because the images are few (Davison and Hinkley 1997, chapter 5).

The trained weights stay the same in all draws: how much another seed of the training changes is not in the intervals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.data.annotations import CocoDataset
from detector.evaluation.average_precision import eleven_point
from detector.evaluation.detections import DetectionSet, check_detections
from detector.evaluation.matching import IGNORED, TRUE_POSITIVE, ClassOverlaps, class_overlaps, outcomes

# Intervals hold this part of the draws.
CONFIDENCE = 0.95


def draw_map(
    truth: CocoDataset, detections: DetectionSet, iou: float, draws: int = 1000, seed: int = 1
) -> NDArray[np.float64]:
    """Return the mean 11-point AP at `iou` of sets of images drawn with replacement, as many as there are: (draws,).

    With one `truth` and one seed all detectors get the same draws, so that two results can be subtracted. A class
    without a truth in a draw does not count there; a draw without any truth gives NaN. Raises AnnotationError if
    `truth` does not list an image or a label.
    """
    check_detections(truth, detections)
    count = len(truth.images)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(count, np.full(count, 1 / count), draws) if count else np.zeros((draws, 0), np.int64)
    by_class = np.stack([_class_ap(overlaps, iou, times) for overlaps in class_overlaps(truth, detections)], axis=1)
    known = ~np.isnan(by_class)
    total = np.where(known, by_class, 0.0).sum(axis=1)
    return np.divide(total, known.sum(axis=1), out=np.full(draws, np.nan), where=known.any(axis=1))


def _class_ap(overlaps: ClassOverlaps, iou: float, times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return one class's AP in each draw, (draws,); times: (draws, images), how often a draw has an image."""
    outcome = outcomes(overlaps, iou)
    kept = outcome != IGNORED
    right, images = outcome[kept] == TRUE_POSITIVE, overlaps.places[kept, 0]
    positives = times[:, overlaps.truth_places[~overlaps.ignored, 0]].sum(axis=1)
    result = np.full(len(times), np.nan)
    for draw in np.flatnonzero(positives):
        copies = times[draw, images]
        found, seen = np.cumsum(copies * right), np.cumsum(copies)
        shown = seen > 0
        result[draw] = eleven_point(found[shown] / positives[draw], found[shown] / seen[shown])
    return result


def interval(draws: NDArray[np.float64], estimate: float) -> tuple[float, float]:
    """Return the bounds of the basic bootstrap interval around `estimate`, the figure of all images; NaN if one is NaN.

    Draws with replacement have fewer different images, and their mean AP is too high by as much as the estimate itself
    may be. So their distances from the estimate are taken with the opposite sign (Davison and Hinkley 1997, section
    5.2). draws: (N,), what `draw_map` returned, or a difference of two.
    """
    if not len(draws):
        return float("nan"), float("nan")
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(2 * estimate - high), float(2 * estimate - low)
