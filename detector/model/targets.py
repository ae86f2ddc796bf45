"""Draws the regions of interest of a training step, with their targets (Girshick 2015, section 2.3).

Shapes: N proposals of one image, G true boxes, R sampled regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from detector.model.training_images import Example

# A proposal counts as an object from this IoU on.
POSITIVE_IOU = 0.5
POSITIVE_SHARE = 0.25


@dataclass(frozen=True)
class Targets:
    """Regions with targets. boxes: (R, 4) xyxy; labels: (R,) int64, 0 for background; matched: (R, 4), the true box of
    an object, or the box itself."""

    boxes: Tensor
    labels: Tensor
    matched: Tensor


def draw_regions(proposals: Sequence[Tensor], examples: Sequence[Example], count: int) -> list[Targets]:
    """Call `sample` for every image of a batch, on the device of its proposals, B x (N_b, 4)."""
    drawn = []
    for own, example in zip(proposals, examples, strict=True):
        truth, labels, ignore, crowd = (
            value.to(own.device) for value in (example.truth, example.labels, example.ignore, example.crowd)
        )
        drawn.append(sample(own, truth, labels, ignore, crowd, count, example.generator("regions")))
    return drawn


def concatenate(drawn: Sequence[Targets]) -> Targets:
    """Return the targets of all images of a batch, one image after the other."""
    return Targets(
        torch.cat([targets.boxes for targets in drawn]),
        torch.cat([targets.labels for targets in drawn]),
        torch.cat([targets.matched for targets in drawn]),
    )


def sample(
    proposals: Tensor,
    truth: Tensor,
    labels: Tensor,
    ignore: Tensor,
    crowd: Tensor,
    count: int,
    generator: torch.Generator,
) -> Targets:
    """Draw at most `count` regions: up to a quarter are objects, and the rest are background.

    proposals: (N, 4), truth: (G, 4) float32 xyxy; labels: (G,) from 1; ignore: (G,) bool, true boxes that are used
    neither as objects nor as background; crowd: (G,) bool, ignored boxes of many objects, so that a proposal inside one
    is not background either. True boxes are added to the proposals. N and G may be 0.
    """
    wanted = ~ignore
    candidates = torch.cat([truth[wanted], proposals])
    if len(candidates) == 0:
        return Targets(candidates, labels.new_zeros(0), candidates)
    if len(truth):
        overlap = box_iou(candidates, truth)  # (N', G)
        overlap_wanted = overlap.masked_fill(ignore[None, :], -1.0)
        best, index = overlap_wanted.max(dim=1)
        covered = coverage(candidates, truth, crowd)
        near_ignored = covered.masked_fill(wanted[None, :], -1.0).amax(dim=1) >= POSITIVE_IOU
    else:
        best = candidates.new_zeros(len(candidates))
        index = labels.new_zeros(len(candidates))
        near_ignored = ignore.new_zeros(len(candidates))
    positive = torch.nonzero(best >= POSITIVE_IOU).squeeze(1)
    negative = torch.nonzero((best < POSITIVE_IOU) & ~near_ignored).squeeze(1)
    positive = _draw(positive, int(count * POSITIVE_SHARE), generator)
    negative = _draw(negative, count - len(positive), generator)
    chosen = torch.cat([positive, negative])
    boxes = candidates[chosen]
    out_labels = labels.new_zeros(len(chosen))
    matched = boxes.clone()
    if len(positive):
        out_labels[: len(positive)] = labels[index[positive]]
        matched[: len(positive)] = truth[index[positive]]
    return Targets(boxes, out_labels, matched)


def coverage(boxes: Tensor, truth: Tensor, crowd: Tensor) -> Tensor:
    """Return (N, G) IoUs of boxes (N, 4) and truth (G, 4) xyxy; for crowds (G,) the part of each box inside."""
    return torch.where(crowd[None, :], _inside(boxes, truth), box_iou(boxes, truth))


def _inside(boxes: Tensor, regions: Tensor) -> Tensor:
    """Return (N, G): the part of each box (N, 4) that lies in each region (G, 4), as COCO measures crowds."""
    low = torch.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    return shared / (boxes[:, 2:] - boxes[:, :2]).prod(dim=1, keepdim=True).clamp(min=1e-6)


def _draw(indices: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return indices[torch.randperm(len(indices), generator=generator)[:count]]
