"""What every member of the detector family is: a network that learns from a batch and detects in one image.

Shapes: B images, R proposals of one image, N boxes that are scored, C classes without the background.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from detector.model.training_images import Example, TrainingImages
from detector.params import TrainSettings

Losses = dict[str, Tensor]


class DetectionNetwork(nn.Module, ABC):
    """`forward` is one training step's loss, so that wrappers around a module (several devices) see it."""

    backbone: nn.Module
    # `detect` takes this many proposals at once, which bounds memory; None: any number.
    batch: int | None = None

    @abstractmethod
    def forward(self, images: Tensor, examples: Sequence[Example], settings: TrainSettings) -> Losses:
        """images float32 (B, 3, H, W), padded as `training_images.collate` does; examples: what is known of each, on
        any device -> the loss's parts, scalars, and under "total" the sum that is minimised.

        Everything random but dropout comes from each example's seed. Images without objects and without proposals are
        as good as others.
        """

    @abstractmethod
    def detect(self, image: Tensor, proposals: Tensor, max_proposals: int) -> tuple[Tensor, Tensor]:
        """image float32 (1, 3, H, W), proposals (R, 4) xyxy in its pixels -> probabilities (N, C) without the
        background, boxes (N, C, 4) xyxy.

        Members that make their own proposals do not read `proposals`, and make `max_proposals` at most; for the others
        N is R.
        """

    def freeze(self, blocks: int) -> None:
        """Keep the backbone's stem and first `blocks` blocks as pre-training left them."""
        self.backbone.freeze(blocks)  # type: ignore[operator]

    def fit(self, images: TrainingImages, settings: TrainSettings, cache: Path) -> dict[str, float]:
        """Find what is not learnt by gradients, after they are done and in evaluation mode; most members have nothing
        of the kind.

        images: the training split, not flipped; cache: a folder for what is dear to compute, which a stopped run leaves
        to the next one. Returns figures for the log.
        """
        return {}
