"""The box parameterisation of R-CNN (Girshick et al. 2014, appendix C): shifts relative to the proposal's size, and
logarithms of the scale.

A box is (x1, y1, x2, y2); deltas are (dx, dy, dw, dh), each multiplied by a weight. Shapes: R regions, C classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Fast R-CNN normalises targets to about unit variance; these are the inverse standard deviations it found.
WEIGHTS = (10.0, 10.0, 5.0, 5.0)
# The most that a box may grow, as in Detectron; without it, exp() overflows in an untrained network.
MAX_LOG_SCALE = math.log(1000.0 / 16.0)


def encode(proposals: Tensor, targets: Tensor) -> Tensor:
    """Return deltas (R, 4) that turn `proposals` into `targets`, both (R, 4) xyxy with positive size."""
    size, target_size = proposals[:, 2:] - proposals[:, :2], targets[:, 2:] - targets[:, :2]
    centre, target_centre = proposals[:, :2] + 0.5 * size, targets[:, :2] + 0.5 * target_size
    raw = torch.cat([(target_centre - centre) / size, torch.log(target_size / size)], dim=1)
    return raw * raw.new_tensor(WEIGHTS)


def decode(proposals: Tensor, deltas: Tensor) -> Tensor:
    """Return boxes (R, C, 4) xyxy, not clipped, of proposals (R, 4) and deltas (R, C, 4); the inverse of `encode`."""
    size = (proposals[:, 2:] - proposals[:, :2])[:, None]  # (R, 1, 2)
    centre = proposals[:, None, :2] + 0.5 * size
    raw = deltas / deltas.new_tensor(WEIGHTS)
    new_centre = centre + raw[..., :2] * size
    half = 0.5 * size * torch.exp(raw[..., 2:].clamp(max=MAX_LOG_SCALE))
    return torch.cat([new_centre - half, new_centre + half], dim=2)
