"""The multi-task loss of Fast R-CNN: L = L_class + lambda [is an object] L_box.

Shapes: R regions of interest, C classes without the background.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from detector.geometry import deltas as parameterisation


def encode(proposals: Tensor, targets: Tensor) -> Tensor:
    """`geometry.deltas.encode` for tensors: (R, 4), (R, 4) xyxy -> (R, 4)."""
    size, target_size = proposals[:, 2:] - proposals[:, :2], targets[:, 2:] - targets[:, :2]
    centre, target_centre = proposals[:, :2] + 0.5 * size, targets[:, :2] + 0.5 * target_size
    raw = torch.cat([(target_centre - centre) / size, torch.log(target_size / size)], dim=1)
    return raw * raw.new_tensor(parameterisation.WEIGHTS)


def decode(proposals: Tensor, deltas: Tensor) -> Tensor:
    """`geometry.deltas.decode` for tensors: (R, 4) xyxy and (R, C, 4) -> (R, C, 4) xyxy."""
    size = (proposals[:, 2:] - proposals[:, :2])[:, None]  # (R, 1, 2)
    centre = proposals[:, None, :2] + 0.5 * size
    raw = deltas / deltas.new_tensor(parameterisation.WEIGHTS)
    new_centre = centre + raw[..., :2] * size
    half = 0.5 * size * torch.exp(raw[..., 2:].clamp(max=parameterisation.MAX_LOG_SCALE))
    return torch.cat([new_centre - half, new_centre + half], dim=2)


def multi_task_loss(
    logits: Tensor, deltas: Tensor, boxes: Tensor, labels: Tensor, matched: Tensor, box_weight: float
) -> dict[str, Tensor]:
    """logits (R, C + 1), deltas (R, C, 4), boxes and matched (R, 4) xyxy, labels (R,) with 0 for background ->
    {"class", "box", "total"}, scalars. Both parts are means over all R regions, as in the paper; R may be 0.
    """
    count = max(1, len(labels))
    class_loss = functional.cross_entropy(logits.float(), labels, reduction="sum") / count
    objects = torch.nonzero(labels > 0).squeeze(1)
    predicted = deltas.float()[objects, labels[objects] - 1]  # (P, 4)
    wanted = encode(boxes[objects], matched[objects])
    box_loss = functional.smooth_l1_loss(predicted, wanted, reduction="sum") / count
    return {"class": class_loss, "box": box_loss, "total": class_loss + box_weight * box_loss}
