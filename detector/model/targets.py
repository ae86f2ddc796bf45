"""Which regions of interest a training step looks at, and what they should become (Girshick 2015, section 2.3).

Shapes: N proposals of one image, G true boxes, R sampled regions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

# A proposal is an object from this IoU with one on.
POSITIVE_IOU = 0.5
POSITIVE_SHARE = 0.25


@dataclass(frozen=True)
class Targets:
    """boxes (R, 4) xyxy; labels (R,) int64, 0 for background; matched (R, 4), the true box, or the box itself."""

    boxes: Tensor
    labels: Tensor
    matched: Tensor


def sample(
    proposals: Tensor,
    truth: Tensor,
    labels: Tensor,
    ignore: Tensor,
    crowd: Tensor,
    count: int,
    generator: torch.Generator,
) -> Targets:
    """Draw at most `count` regions: up to a quarter objects, the rest background.

    proposals (N, 4), truth (G, 4) float32 xyxy; labels (G,) from 1; ignore (G,) bool: true boxes that are neither
    learnt nor taken as background; crowd (G,) bool: those of them that hold many objects, so that a proposal inside is
    no background either. True boxes join the proposals. N and G may be 0.
    """
    wanted = ~ignore
    candidates = torch.cat([truth[wanted], proposals])
    if len(candidates) == 0:
        return Targets(candidates, labels.new_zeros(0), candidates)
    if len(truth):
        overlap = box_iou(candidates, truth)  # (N', G)
        overlap_wanted = overlap.masked_fill(ignore[None, :], -1.0)
        best, index = overlap_wanted.max(dim=1)
        covered = torch.where(crowd[None, :], _inside(candidates, truth), overlap)
        near_ignored = covered.masked_fill(wanted[None, :], -1.0).amax(dim=1) >= POSITIVE_IOU
    else:
        best = candidates.new_zeros(len(candidates))
        index = torch.zeros(len(candidates), dtype=torch.int64)
        near_ignored = torch.zeros(len(candidates), dtype=torch.bool)
    positive = torch.nonzero(best >= POSITIVE_IOU).squeeze(1)
    negative = torch.nonzero((best < POSITIVE_IOU) & ~near_ignored).squeeze(1)
    positive = _draw(positive, int(count * POSITIVE_SHARE), generator)
    negative = _draw(negative, count - len(positive), generator)
    chosen = torch.cat([positive, negative])
    boxes = candidates[chosen]
    out_labels = torch.zeros(len(chosen), dtype=torch.int64)
    matched = boxes.clone()
    if len(positive):
        out_labels[: len(positive)] = labels[index[positive]]
        matched[: len(positive)] = truth[index[positive]]
    return Targets(boxes, out_labels, matched)


def _inside(boxes: Tensor, regions: Tensor) -> Tensor:
    """(N, 4), (G, 4) xyxy -> (N, G): the part of each box that lies in each region, as COCO measures crowds."""
    low = torch.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    return shared / (boxes[:, 2:] - boxes[:, :2]).prod(dim=1, keepdim=True).clamp(min=1e-6)


def _draw(indices: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return indices[torch.randperm(len(indices), generator=generator)[:count]]
