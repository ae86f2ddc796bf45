"""The base class of detectors that run the CNN on a crop of every proposal.

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
    """Turns each proposal into one vector, by the warp, the backbone and a global average.

    A training step uses `train.batch_size` x `train.regions` crops: 8 x 16 are the paper's batch of 128, a quarter of
    which are objects (32 and 96; section 2.3).
    """

    batch = 64

    def __init__(self, settings: ModelSettings, weights: str) -> None:
        """Build the network; weights: "imagenet" or a file, of the backbone, or "none" if all are loaded afterwards."""
        super().__init__()
        backbone = BACKBONES[settings.backbone]
        self.backbone = backbone.build(weights, settings.start_sha256)
        self.channels, self.crop_size = backbone.channels[-1], settings.crop_size
        self.dropout = nn.Dropout(settings.dropout)

    def vectors(self, images: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """Return vectors float32 (R, D), image after image, for images (B, 3, H, W) and boxes B x (R_b, 4) xyxy."""
        maps: Tensor = self.backbone(warp(images, boxes, self.crop_size))[-1]  # (R, D, S / 32, S / 32)
        return maps.float().mean(dim=(2, 3))
