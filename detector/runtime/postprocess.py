"""Makes detections of the network's outputs; the evaluation and the batch job share this code.

Shapes: N proposals, C classes, K detections.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.common.errors import ArtifactError
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


@dataclass(frozen=True)
class Columns:
    """Which of a graph's `count` outputs count: kept, int64 (K,), and the label of each, int64 (K,)."""

    count: int
    kept: NDArray[np.int64]
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
    columns: Columns | None = None,
) -> Detections:
    """Calibrate, scale back and round; then clip, threshold and suppress, so that the written numbers decide.

    scale, offset: of x and y, from the image to the graph's input: input = original * scale + offset; height, width:
    the image's size in pixels; calibration: (slope, offset) of `calibrate`;
    columns: None if output i has label i.

    An infinite edge is clipped to the image. Raises ArtifactError if the edge of a chosen box is not a number.
    """
    if columns is not None:
        scores = scores[:, columns.kept]
        boxes = boxes[:, columns.kept] if boxes.shape[1] > 1 else boxes
    # A graph may have hundreds of thousands of scores, most of them far below the threshold.
    rows, places = np.nonzero(scores >= _least_output(min_score, calibration))
    chosen_scores = scores[rows, places].astype(np.float64)
    if calibration is not None:
        chosen_scores = calibrate(chosen_scores, *calibration)
    chosen_scores = rounded(chosen_scores)
    enough = chosen_scores >= min_score
    rows, places, chosen_scores = rows[enough], places[enough], chosen_scores[enough]
    labels = places if columns is None else columns.labels[places]
    factor = np.array([_BOX_STEPS / scale[0], _BOX_STEPS / scale[1]] * 2)
    chosen = boxes[rows, places if boxes.shape[1] > 1 else 0].astype(np.float64)
    edges = np.round((chosen - np.array([*offset, *offset])) * factor) / _BOX_STEPS
    if np.isnan(edges).any():
        raise ArtifactError("model.onnx: gives a box with an edge that is not a number (NaN)")
    chosen_boxes = clip(edges.astype(np.float32), height, width)
    sides = chosen_boxes[:, 2:] - chosen_boxes[:, :2]
    thick = np.flatnonzero((sides >= _THINNEST).all(axis=1))
    kept = thick[nms(chosen_boxes[thick], chosen_scores[thick], labels[thick], nms_threshold, max_detections)]
    return Detections(chosen_boxes[kept], chosen_scores[kept], labels[kept].astype(np.int64))


def _least_output(min_score: float, calibration: tuple[float, float] | None) -> float:
    """Return a number below every output of the graph whose calibrated and rounded score is at least `min_score`."""
    least = min_score - 2 * 10.0**-_SCORE_DECIMALS
    if least <= 0 or calibration is None:
        return least
    slope, offset = calibration
    odds = (math.log(least) - math.log1p(-least) - offset) / slope
    return 1.0 / (1.0 + math.exp(-odds)) - _LEAST_ODDS if odds > -30 else 0.0
