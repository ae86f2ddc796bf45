"""Makes detections of the network's outputs; the evaluation and the batch job share this code.

Shapes: N proposals, C classes, K detections.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.runtime.geometry.boxes import Boxes, clip
from detector.runtime.geometry.nms import nms

# Boxes are rounded to 1/16 pixel and scores to four decimals: the differences between processors are smaller than
# that, and no use needs more.
_BOX_STEPS = 16.0
_SCORE_DECIMALS = 4
# A score of exactly 0 or 1 has no logit.
_LEAST_ODDS = 1e-9
# A detection thinner than this many pixels is dropped.
_THINNEST = 1.0


@dataclass(frozen=True)
class Detections:
    """The detections of one image, best first. boxes: float32 (K, 4) xyxy in its pixels, multiples of 1/16; scores:
    float64 (K,), multiples of 1e-4; labels: int64 (K,), indices into the classes."""

    boxes: Boxes
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]


def calibrate(scores: NDArray[np.float64], slope: float, offset: float) -> NDArray[np.float64]:
    """Return sigmoid(slope * logit(score) + offset) for scores of any shape; with slope > 0 their order is the same."""
    inner = np.clip(scores, _LEAST_ODDS, 1.0 - _LEAST_ODDS)
    odds = np.log(inner) - np.log1p(-inner)
    return np.asarray(1.0 / (1.0 + np.exp(-(slope * odds + offset))))


def rounded(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores of any shape, rounded as they are written."""
    return scores.round(_SCORE_DECIMALS)


def calibrated_score(score: float, slope: float, offset: float) -> float:
    """Return the calibrated score, rounded down.

    Detections from `score` on without calibration are exactly those from the result on with calibration.
    """
    steps = 10**_SCORE_DECIMALS
    least = score - 0.5 / steps  # the least value that is rounded up to `score`
    return math.floor(float(calibrate(np.array([least]), slope, offset)[0]) * steps) / steps


def postprocess(
    scores: NDArray[np.float32],  # (N, C)
    boxes: NDArray[np.float32],  # (N, C, 4), or (N, 1, 4) for all classes, xyxy in the graph's input
    *,
    scale: tuple[float, float],
    offset: tuple[float, float] = (0.0, 0.0),
    height: int,
    width: int,
    min_score: float,
    nms_threshold: float,
    max_detections: int,
    calibration: tuple[float, float] | None = None,
) -> Detections:
    """Calibrate, scale back and round; then clip, threshold and suppress, so that the written numbers decide.

    scale, offset: of x and y, from the image to the graph's input: input = original * scale + offset; height, width:
    the image's size in pixels; calibration: (slope, offset) of `calibrate`.
    """
    probabilities = scores.astype(np.float64)
    if calibration is not None:
        probabilities = calibrate(probabilities, *calibration)
    rounded_scores = rounded(probabilities)
    rows, labels = np.nonzero(rounded_scores >= min_score)
    factor = np.array([_BOX_STEPS / scale[0], _BOX_STEPS / scale[1]] * 2)
    chosen = boxes[rows, labels if boxes.shape[1] > 1 else 0].astype(np.float64)
    places = np.round((chosen - np.array([*offset, *offset])) * factor) / _BOX_STEPS
    chosen_boxes = clip(places.astype(np.float32), height, width)
    chosen_scores = rounded_scores[rows, labels]
    sides = chosen_boxes[:, 2:] - chosen_boxes[:, :2]
    thick = np.flatnonzero((sides >= _THINNEST).all(axis=1))
    kept = thick[nms(chosen_boxes[thick], chosen_scores[thick], labels[thick], nms_threshold)][:max_detections]
    return Detections(chosen_boxes[kept], chosen_scores[kept], labels[kept].astype(np.int64))
