"""Fast R-CNN (Girshick, ICCV 2015): the image goes through the network once, then every proposal is cropped from the
feature maps, classified and refined.

Shapes: B images, R regions of interest, C classes without the background.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detector.model.backbones import BACKBONES
from detector.model.heads import RegionHead
from detector.model.losses import decode
from detector.model.pyramid import FeaturePyramid
from detector.model.roi_pool import BINS, pool
from detector.params import ModelSettings


class FastRCNN(nn.Module):
    """Backbone, pyramid, RoIAlign and a head of two hidden layers."""

    def __init__(self, settings: ModelSettings, classes: int, weights: str) -> None:
        """weights: as `model.weights`; "none" where a checkpoint is loaded afterwards."""
        super().__init__()
        backbone = BACKBONES[settings.backbone]
        self.strides = backbone.strides
        self.backbone = backbone.build(weights)
        self.pyramid = FeaturePyramid(backbone.channels, settings.pyramid_channels)
        self.head = RegionHead(settings.pyramid_channels, BINS, settings.hidden, classes, settings.dropout)

    def forward(self, images: Tensor, proposals: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """images (B, 3, H, W), proposals B x (R_b, 4) xyxy in pixels -> logits (R, C + 1), deltas (R, C, 4),
        image after image."""
        rois = torch.cat(
            [torch.cat([boxes.new_full((boxes.shape[0], 1), i), boxes], dim=1) for i, boxes in enumerate(proposals)]
        )
        features = self.pyramid(self.backbone(images))
        logits, deltas = self.head(pool(features, self.strides, rois))
        return logits, deltas

    def detect(self, image: Tensor, proposals: Tensor) -> tuple[Tensor, Tensor]:
        """image (1, 3, H, W), proposals (R, 4) -> probabilities (R, C) without the background, boxes (R, C, 4)."""
        logits, deltas = self(image, [proposals])
        return logits.float().softmax(dim=1)[:, 1:], decode(proposals, deltas.float())
