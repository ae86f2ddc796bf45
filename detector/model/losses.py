"""The multi-task loss of Fast R-CNN: L = L_class + lambda [is an object] L_box.

Shapes: R regions of interest, C classes without the background.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from detector.model.deltas import encode
from detector.model.targets import Targets


def multi_task_loss(
    logits: Tensor, deltas: Tensor, targets: Targets, box_weight: float, beta: float = 1.0
) -> dict[str, Tensor]:
    """Return the scalars {"class", "box", "total"}; both parts are means over all R regions, as in the paper.

    logits: (R, C + 1); deltas: (R, C, 4), or (R, 1, 4) for all classes; targets: of all R regions, which may be none;
    beta: below this difference the loss of a delta is quadratic, and above it linear; it is 1 in the paper.
    """
    labels = targets.labels
    count = max(1, len(labels))
    class_loss = functional.cross_entropy(logits.float(), labels, reduction="sum") / count
    objects = torch.nonzero(labels > 0).squeeze(1)
    own = labels[objects] - 1 if deltas.shape[1] > 1 else torch.zeros_like(objects)
    predicted = deltas.float()[objects, own]  # (P, 4)
    wanted = encode(targets.boxes[objects], targets.matched[objects])
    box_loss = functional.smooth_l1_loss(predicted, wanted, reduction="sum", beta=beta) / count
    return {"class": class_loss, "box": box_loss, "total": class_loss + box_weight * box_loss}
