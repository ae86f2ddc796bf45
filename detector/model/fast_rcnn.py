"""Fast R-CNN (Girshick, ICCV 2015): the network sees the image once; then every proposal is cropped from the feature
maps, classified and refined.

Shapes: B images, R regions of interest over all images, C classes without the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from detector.model.backbones import BACKBONES
from detector.model.deltas import decode
from detector.model.depthwise import separable
from detector.model.heads import THIN, LightHead, RegionHead
from detector.model.losses import multi_task_loss
from detector.model.network import DetectionNetwork, Losses
from detector.model.pyramid import FeaturePyramid
from detector.model.roi_pool import BINS, numbered, pool
from detector.model.targets import concatenate, draw_regions
from detector.model.training_images import Example
from detector.params import ModelSettings, TrainSettings


class FastRCNN(DetectionNetwork):
    """A backbone, a pyramid, RoIAlign and a head of two hidden layers.

    With `model.head: light` the head has one hidden layer, which reads regions from thin maps, and the pyramid's
    convolutions are separable.
    """

    # Whether a region has one box, and not one for each class.
    one_box: ClassVar[bool] = False

    def __init__(self, settings: ModelSettings, classes: int, weights: str) -> None:
        """Build the network; weights: "imagenet" or a file, of the backbone, or "none" if all are loaded afterwards."""
        super().__init__()
        backbone = BACKBONES[settings.backbone]
        self.strides = backbone.strides
        self.backbone = backbone.build(weights, settings.start_sha256)
        channels, light = settings.pyramid_channels, settings.head == "light"
        self.pyramid = FeaturePyramid(backbone.channels, channels, light)
        self.thin: nn.Module = separable(channels, THIN) if light else nn.Identity()
        self.head = self.new_head(settings, classes)

    def new_head(self, settings: ModelSettings, classes: int) -> RegionHead | LightHead:
        """Return a head for regions of the maps that `region_maps` returns."""
        if settings.head == "light":
            return LightHead(BINS, settings.hidden, classes, settings.dropout, self.one_box)
        return RegionHead(settings.pyramid_channels, BINS, settings.hidden, classes, settings.dropout, self.one_box)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the pyramid's maps, float32 (B, D, H_l, W_l), for images (B, 3, H, W)."""
        return [level.float() for level in self.pyramid(self.backbone(images))]

    def region_maps(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the maps that regions are cropped from, (B, D', H_l, W_l), for those of the pyramid."""
        return [self.thin(level) for level in features]

    def regions(self, maps: Sequence[Tensor], rois: Tensor, head: nn.Module) -> tuple[Tensor, Tensor]:
        """Return logits (R, C + 1) and deltas (R, C or 1, 4).

        maps: what `region_maps` returns; rois: float32 (R, 5), rows of image index and xyxy in pixels.
        """
        logits, deltas = head(pool(maps, self.strides, rois))
        return logits.float(), deltas.float()

    def classify(self, features: Sequence[Tensor], rois: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities (R, C) without the background, and boxes (R, C, 4) xyxy, of `rois` as in `regions`."""
        logits, deltas = self.regions(self.region_maps(features), rois, self.head)
        return logits.softmax(dim=1)[:, 1:], decode(rois[:, 1:], deltas)

    def region_losses(
        self,
        features: Sequence[Tensor],
        proposals: Sequence[Tensor],
        examples: Sequence[Example],
        settings: TrainSettings,
    ) -> Losses:
        """Return the multi-task loss of regions that are drawn from each image's proposals, B x (R_b, 4)."""
        drawn = draw_regions(proposals, examples, settings.regions)
        rois = numbered([targets.boxes for targets in drawn])
        logits, deltas = self.regions(self.region_maps(features), rois, self.head)
        return multi_task_loss(logits, deltas, concatenate(drawn), settings.box_weight)

    def forward(self, images: Tensor, examples: Sequence[Example], settings: TrainSettings) -> Losses:
        proposals = [example.proposals.to(images.device) for example in examples]
        return self.region_losses(self.features(images), proposals, examples, settings)

    def detect(self, image: Tensor, proposals: Tensor, max_proposals: int) -> tuple[Tensor, Tensor]:
        return self.classify(self.features(image), numbered([proposals]))
