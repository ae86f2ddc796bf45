"""Cascade R-CNN (Cai and Vasconcelos, CVPR 2018): a second head looks again at the boxes that the first one refined.

Shapes: B images, R regions of interest over all images, C classes without the background.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detector.model.deltas import decode
from detector.model.faster_rcnn import FasterRCNN
from detector.model.losses import multi_task_loss
from detector.model.network import Losses
from detector.model.roi_pool import numbered
from detector.model.targets import Targets, concatenate, draw_regions, match_regions
from detector.model.training_images import Example
from detector.params import ModelSettings, TrainSettings

# Refined boxes are objects from a higher IoU on (section 4). The paper has a third head, from IoU .7 on, which gains
# less than the second and costs as much.
_OBJECTS_FROM = 0.6
# The loss of boxes is nearly linear, so that small errors count too: docs/accuracy.md.
_BETA = 0.1


class CascadeRCNN(FasterRCNN):
    """Faster R-CNN with two heads, whose boxes are the same for all classes, because the second head must know which
    box of a region to look at. A score is the mean of both heads' probabilities."""

    one_box = True

    def __init__(self, settings: ModelSettings, classes: int, weights: str) -> None:
        """Build the network; weights: "imagenet" or a file, of the backbone, or "none" if all are loaded afterwards."""
        super().__init__(settings, classes, weights)
        self.second_head = self.new_head(settings, classes)

    def region_losses(
        self,
        features: Sequence[Tensor],
        proposals: Sequence[Tensor],
        examples: Sequence[Example],
        settings: TrainSettings,
    ) -> Losses:
        maps = self.region_maps(features)
        drawn = draw_regions(proposals, examples, settings.regions)
        boxes, first = self._learn(maps, drawn, self.head, settings.box_weight)
        near = match_regions(boxes.split([len(own.labels) for own in drawn]), examples, _OBJECTS_FROM)
        _, second = self._learn(maps, near, self.second_head, settings.box_weight)
        return {
            **first,
            "second_class": second["class"],
            "second_box": second["box"],
            "total": first["total"] + second["total"],
        }

    def _learn(
        self, maps: Sequence[Tensor], regions: Sequence[Targets], head: nn.Module, weight: float
    ) -> tuple[Tensor, Losses]:
        """Return the refined boxes (R, 4), without a gradient, and a head's losses.

        The boxes may reach beyond the image, in training as in use: the second head learns to bring them back.
        """
        targets = concatenate(regions)
        logits, deltas = self.regions(maps, numbered([own.boxes for own in regions]), head)
        losses = multi_task_loss(logits, deltas, targets, weight, _BETA)
        return decode(targets.boxes, deltas.detach())[:, 0], losses

    def classify(self, features: Sequence[Tensor], rois: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.region_maps(features)
        logits, deltas = self.regions(maps, rois, self.head)
        boxes = decode(rois[:, 1:], deltas)[:, 0]
        again, deltas = self.regions(maps, torch.cat([rois[:, :1], boxes], dim=1), self.second_head)
        scores = 0.5 * (logits.softmax(dim=1) + again.softmax(dim=1))[:, 1:]
        return scores, decode(boxes, deltas).expand(-1, scores.shape[1], 4)
