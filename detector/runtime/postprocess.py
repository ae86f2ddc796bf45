"""From the network's numbers to detections: the one copy, used by `evaluate` and by the predictor.

Shapes: N proposals, C classes, K detections.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.runtime.geometry.boxes import Boxes, clip
from detector.runtime.geometry.nms import nms

# Boxes are kept to 1/16 pixel and scores to four decimals: coarser than the noise between processors, finer than use.
_BOX_STEPS = 16.0
_SCORE_DECIMALS = 4
# A score of exactly 0 or 1 has no logit.
_LEAST_ODDS = 1e-9
# A detection thinner than this many pixels is dropped.
_THINNEST = 1.0


@dataclass(frozen=True)
class Detections:
    """boxes float32 (K, 4) xyxy in the image's pixels, multiples of 1/16; scores float64 (K,), multiples of 1e-4, best
    first; labels int64 (K,), indices into the classes."""

    boxes: Boxes
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]


def calibrate(scores: NDArray[np.float64], slope: float, offset: float) -> NDArray[np.float64]:
    """sigmoid(slope * logit(score) + offset) for probabilities of any shape; slope > 0 keeps their order."""
    inner = np.clip(scores, _LEAST_ODDS, 1.0 - _LEAST_ODDS)
    odds = np.log(inner) - np.log1p(-inner)
    return np.asarray(1.0 / (1.0 + np.exp(-(slope * odds + offset))))


def rounded(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores of any shape as they are written."""
    return scores.round(_SCORE_DECIMALS)


def calibrated_score(score: float, slope: float, offset: float) -> float:
    """What a score becomes, rounded down: the detections from `score` on without calibration are from this on with
    it."""
    steps = 10**_SCORE_DECIMALS
    least = score - 0.5 / steps  # is still rounded up to `score`
    return math.floor(float(calibrate(np.array([least]), slope, offset)[0]) * steps) / steps


def postprocess(
    scores: NDArray[np.float32],  # (N, C)
    boxes: NDArray[np.float32],  # (N, C, 4) xyxy in the resized picture
    *,
    scale: tuple[float, float],
    height: int,
    width: int,
    min_score: float,
    nms_threshold: float,
    max_detections: int,
    calibration: tuple[float, float] | None = None,
) -> Detections:
    """Calibrate, scale back, round, then clip, threshold and suppress: every decision sees the numbers that are
    written.

    scale: (x, y) factors from the image to the resized picture; height, width: the image's pixels; calibration: (slope,
    offset) of `calibrate`.
    """
    probabilities = scores.astype(np.float64)
    if calibration is not None:
        probabilities = calibrate(probabilities, *calibration)
    rounded_scores = rounded(probabilities)
    rows, labels = np.nonzero(rounded_scores >= min_score)
    factor = np.array([_BOX_STEPS / scale[0], _BOX_STEPS / scale[1]] * 2)
    places = np.round(boxes[rows, labels].astype(np.float64) * factor) / _BOX_STEPS
    chosen_boxes = clip(places.astype(np.float32), height, width)
    chosen_scores = rounded_scores[rows, labels]
    sides = chosen_boxes[:, 2:] - chosen_boxes[:, :2]
    thick = np.flatnonzero((sides >= _THINNEST).all(axis=1))
    kept = thick[nms(chosen_boxes[thick], chosen_scores[thick], labels[thick], nms_threshold)][:max_detections]
    return Detections(chosen_boxes[kept], chosen_scores[kept], labels[kept].astype(np.int64))
