"""Faster R-CNN (Ren et al., NeurIPS 2015): Fast R-CNN with proposals from a network on the same features.

Shapes: B images, R proposals of one image, C classes without the background.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detector.model.fast_rcnn import FastRCNN
from detector.model.network import Losses
from detector.model.proposal_network import ProposalNetwork
from detector.model.training_images import Example
from detector.params import ModelSettings, TrainSettings
from detector.runtime.scores import ABSENT


class FasterRCNN(FastRCNN):
    """A region proposal network before Fast R-CNN's head. Both are trained together, by the approximate joint training
    of section 3.2: there is no gradient through the coordinates of the proposals."""

    makes_proposals = True

    def __init__(self, settings: ModelSettings, classes: int, weights: str) -> None:
        """Build the network; weights: "imagenet" or a file, of the backbone, or "none" if all are loaded afterwards."""
        super().__init__(settings, classes, weights)
        self.rpn = ProposalNetwork(settings.pyramid_channels, self.strides, light=settings.head == "light")

    def forward(self, images: Tensor, examples: Sequence[Example], settings: TrainSettings) -> Losses:
        features = self.features(images)
        proposals, rpn = self.rpn.learn(images, features, examples, settings.proposals)
        losses = self.region_losses(features, proposals, examples, settings)
        return {**losses, **rpn, "total": losses["total"] + rpn["objectness"] + rpn["rpn_box"]}

    def detect(self, image: Tensor, proposals: Tensor, max_proposals: int) -> tuple[Tensor, Tensor]:
        features = self.features(image)
        own, there = self.rpn.propose(image, features, max_proposals)  # (B, R, 4), (B, R)
        index = torch.arange(own.shape[0], device=own.device).to(own)[:, None, None].expand(-1, own.shape[1], 1)
        scores, boxes = self.classify(features, torch.cat([index, own], dim=2).reshape(-1, 5))
        scores = scores.reshape(*there.shape, scores.shape[1])
        scores = torch.where(there[..., None], scores, torch.full_like(scores, float(ABSENT)))
        return scores, boxes.reshape(*scores.shape, 4)
