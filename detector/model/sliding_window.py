"""The detector before proposals: it classifies the windows of a grid, at several scales.

The windows are those of `detector.proposals.sliding_window`. Shapes: R windows over all images, C classes without the
background.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from detector.model.crops import CropNetwork
from detector.model.heads import ClassLayer
from detector.model.network import Losses
from detector.model.targets import concatenate, draw_regions
from detector.model.training_images import Example
from detector.params import ModelSettings, TrainSettings


class SlidingWindow(CropNetwork):
    """R-CNN's classifier without the refinement: the boxes are the windows, and are only as exact as the grid."""

    def __init__(self, settings: ModelSettings, classes: int, weights: str) -> None:
        """Build the network; weights: "imagenet" or a file, of the backbone, or "none" if all are loaded afterwards."""
        super().__init__(settings, weights)
        self.classes = ClassLayer(self.channels, classes, 0.01, background=True)  # as R-CNN's

    def logits(self, images: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """Return logits float32 (R, C + 1) for images (B, 3, H, W) and boxes B x (R_b, 4) xyxy in pixels."""
        logits: Tensor = self.classes(self.dropout(self.vectors(images, boxes)))
        return logits.float()

    def forward(self, images: Tensor, examples: Sequence[Example], settings: TrainSettings) -> Losses:
        windows = [example.proposals.to(images.device) for example in examples]
        drawn = draw_regions(windows, examples, settings.regions)
        logits = self.logits(images, [targets.boxes for targets in drawn])
        labels = concatenate(drawn).labels
        loss = functional.cross_entropy(logits, labels, reduction="sum") / max(1, len(labels))
        return {"class": loss, "total": loss}

    def detect(self, image: Tensor, proposals: Tensor, max_proposals: int) -> tuple[Tensor, Tensor]:
        scores = self.logits(image, [proposals]).softmax(dim=1)[:, 1:]
        return scores, proposals[:, None].expand(-1, scores.shape[1], 4)
