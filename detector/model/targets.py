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

    def at(self, places: Tensor) -> Targets:
        """Return the regions at these indices, or where a mask (R,) is true."""
        return Targets(self.boxes[places], self.labels[places], self.matched[places])


def draw_regions(proposals: Sequence[Tensor], examples: Sequence[Example], count: int) -> list[Targets]:
    """Call `sample` for every image of a batch, on the device of its proposals, B x (N_b, 4)."""
    drawn = []
    for own, example in zip(proposals, examples, strict=True):
        drawn.append(sample(own, *_truth(example, own.device), count, example.generator("regions")))
    return drawn


def match_regions(boxes: Sequence[Tensor], examples: Sequence[Example], objects_from: float) -> list[Targets]:
    """Call `match` for every image of a batch, and leave out the regions that are neither object nor background."""
    found = [
        match(own, *_truth(example, own.device), objects_from) for own, example in zip(boxes, examples, strict=True)
    ]
    return [targets.at(targets.labels >= 0) for targets in found]


def _truth(example: Example, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return an image's true boxes, labels, and which of them are ignored, and crowds, on a device."""
    return (
        example.truth.to(device), example.labels.to(device), example.ignore.to(device), example.crowd.to(device)
    )  # fmt: skip


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
    candidates = torch.cat([truth[~ignore], proposals])
    found = match(candidates, truth, labels, ignore, crowd, POSITIVE_IOU)
    positive = torch.nonzero(found.labels > 0).squeeze(1)
    negative = torch.nonzero(found.labels == 0).squeeze(1)
    positive = _draw(positive, int(count * POSITIVE_SHARE), generator)
    negative = _draw(negative, count - len(positive), generator)
    return found.at(torch.cat([positive, negative]))


def match(
    candidates: Tensor, truth: Tensor, labels: Tensor, ignore: Tensor, crowd: Tensor, objects_from: float
) -> Targets:
    """Return all candidates (N, 4) with the true box that each overlaps most, as in `sample`.

    objects_from: the IoU from which on a candidate is an object. Labels are 0 for background, and -1 for a candidate
    near an ignored object, which is neither.
    """
    out_labels, matched = labels.new_zeros(len(candidates)), candidates.clone()
    if len(candidates) == 0 or len(truth) == 0:
        return Targets(candidates, out_labels, matched)
    best, index = box_iou(candidates, truth).masked_fill(ignore[None, :], -1.0).max(dim=1)  # (N,)
    near_ignored = coverage(candidates, truth, crowd).masked_fill(~ignore[None, :], -1.0).amax(dim=1) >= POSITIVE_IOU
    out_labels[near_ignored] = -1
    positive = torch.nonzero(best >= objects_from).squeeze(1)
    out_labels[positive] = labels[index[positive]]
    matched[positive] = truth[index[positive]]
    return Targets(candidates, out_labels, matched)


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
