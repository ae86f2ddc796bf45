"""Non-maximum suppression of a batch of images, in torch and in an exported graph.

Shapes: B images, N boxes of one image, G groups; boxes of different groups do not suppress each other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms


class _Suppression(torch.autograd.Function):
    """In the graph, ONNX's NonMaxSuppression, which takes a batch; in torch, torchvision's function for each group."""

    @staticmethod
    def forward(ctx: Any, boxes: Tensor, scores: Tensor, iou: float, least: float) -> Tensor:
        chosen = [torch.zeros(0, 3, dtype=torch.int64, device=boxes.device)]
        for image, own in enumerate(scores):
            for group, values in enumerate(own):
                there = torch.nonzero(values > least).squeeze(1)
                kept = there[nms(boxes[image, there], values[there], iou)]
                chosen.append(torch.stack([torch.full_like(kept, image), torch.full_like(kept, group), kept], dim=1))
        return torch.cat(chosen)

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, iou: float, least: float) -> Any:
        every = g.op("Constant", value_t=torch.tensor([torch.iinfo(torch.int64).max]))
        limits = [g.op("Constant", value_t=torch.tensor([limit], dtype=torch.float32)) for limit in (iou, least)]
        return g.op("NonMaxSuppression", boxes, scores, every, *limits)


def suppress(boxes: Tensor, scores: Tensor, groups: Tensor, count: int, iou: float) -> Tensor:
    """Return a mask (B, N) of the boxes that no better box of their group overlaps by more than `iou`.

    boxes: float32 (B, N, 4) xyxy; scores: float32 (B, N), and -inf for a box that is not there; groups: int64 (N,),
    from 0 to count - 1.
    """
    lowest = float(torch.finfo(torch.float32).min)
    own = groups[None, :] == torch.arange(count, device=groups.device)[:, None]  # (G, N)
    by_group = torch.where(own[None], scores[:, None], torch.full_like(scores[:, None], -torch.inf))  # (B, G, N)
    chosen = _Suppression.apply(boxes, by_group, iou, lowest)  # (M, 3): image, group, box
    places = chosen[:, 0] * scores.shape[1] + chosen[:, 2]
    mask = torch.zeros_like(scores).reshape(-1).scatter(0, places, 1.0)
    return mask.reshape(scores.shape) > 0
