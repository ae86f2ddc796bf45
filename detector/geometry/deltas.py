"""The box parameterisation of R-CNN (Girshick et al. 2014, appendix C): shifts relative to the
proposal's size and logarithms of the scale.

A box is (x1, y1, x2, y2); deltas are (dx, dy, dw, dh), both (N, 4) float32, each multiplied by a weight.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.geometry.boxes import Boxes

# Fast R-CNN normalises targets to about unit variance; these are the inverse standard deviations it found.
WEIGHTS = (10.0, 10.0, 5.0, 5.0)
# A box may grow at most this much, as in Detectron: exp() must not overflow on an untrained network.
MAX_LOG_SCALE = float(np.log(1000.0 / 16.0))


def _centres(boxes: Boxes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + np.float32(0.5) * size, size


def encode(proposals: Boxes, targets: Boxes) -> NDArray[np.float32]:
    """Deltas (N, 4) that turn `proposals` into `targets`, both (N, 4) xyxy with positive size."""
    centre, size = _centres(proposals)
    target_centre, target_size = _centres(targets)
    raw = np.concatenate([(target_centre - centre) / size, np.log(target_size / size)], axis=1)
    return (raw * np.asarray(WEIGHTS, np.float32)).astype(np.float32)


def decode(proposals: Boxes, deltas: NDArray[np.float32]) -> Boxes:
    """Boxes (N, 4) xyxy, the inverse of `encode`; not clipped to the image."""
    centre, size = _centres(proposals)
    raw = deltas / np.asarray(WEIGHTS, np.float32)
    new_centre = centre + raw[:, :2] * size
    half = np.float32(0.5) * size * np.exp(np.minimum(raw[:, 2:], np.float32(MAX_LOG_SCALE)))
    return np.concatenate([new_centre - half, new_centre + half], axis=1).astype(np.float32)
