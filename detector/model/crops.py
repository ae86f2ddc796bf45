"""What detectors share that put every proposal through the CNN as a picture of its own.

Shapes: B images, R proposals over all images, D channels of the backbone's last map.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from detector.model.backbones import BACKBONES
from detector.model.network import DetectionNetwork
from detector.model.warp import warp
from detector.params import ModelSettings


class CropNetwork(DetectionNetwork):
    """Warp, backbone, global average: one vector a proposal.

    A training step takes `train.batch_size` x `train.regions` crops, where Fast R-CNN shares one pass an image: 8 x 16
    are the paper's batch of 128, a quarter of them objects (32/96; section 2.3).
    """

    batch = 64

    def __init__(self, settings: ModelSettings, weights: str) -> None:
        """weights: as `model.weights`; "none" where a checkpoint is loaded afterwards."""
        super().__init__()
        backbone = BACKBONES[settings.backbone]
        self.backbone = backbone.build(weights, settings.weights_sha256)
        self.channels, self.crop_size = backbone.channels[-1], settings.crop_size
        self.dropout = nn.Dropout(settings.dropout)

    def vectors(self, images: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """images (B, 3, H, W), boxes B x (R_b, 4) xyxy in pixels -> float32 (R, D), image after image."""
        maps: Tensor = self.backbone(warp(images, boxes, self.crop_size))[-1]  # (R, D, S / 32, S / 32)
        return maps.float().mean(dim=(2, 3))
