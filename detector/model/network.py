"""The interface of all members of the detector family: a network learns from a batch and detects in one image.

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
    """The base class of all members. `forward` computes the loss, so that wrappers for several processes work."""

    backbone: nn.Module
    # The most proposals in one call of `detect`, which bounds memory; None means any number.
    batch: int | None = None
    # Whether `detect` makes its own proposals, and takes a batch of images.
    makes_proposals: bool = False
    # Whether `detect` finds nothing before `fit`.
    needs_fit: bool = False

    @abstractmethod
    def forward(self, images: Tensor, examples: Sequence[Example], settings: TrainSettings) -> Losses:
        """Return the parts of the loss as scalars, and under "total" the sum that is minimised.

        images: float32 (B, 3, H, W), padded as `training_images.collate` does; examples: their boxes and labels, on any
        device. Everything random except dropout comes from the seed of each example. Images may have no objects and no
        proposals.
        """

    @abstractmethod
    def detect(self, image: Tensor, proposals: Tensor, max_proposals: int) -> tuple[Tensor, Tensor]:
        """Return probabilities (N, C) without the background, and boxes (N, C, 4) xyxy.

        image: float32 (1, 3, H, W); proposals: (R, 4) xyxy in its pixels; N is R. Members that make their own proposals
        do not read `proposals`, and take images (B, 3, H, W). They return (B, N, C) and (B, N, C, 4), where N is
        `max_proposals`; rows of an image with fewer have the score `ABSENT`.
        """

    def freeze(self, blocks: int) -> None:
        """Do not train the backbone's stem and first `blocks` blocks."""
        self.backbone.freeze(blocks)  # type: ignore[operator]

    def fit(self, images: TrainingImages, settings: TrainSettings, cache: Path) -> dict[str, float]:
        """Fit the parameters that gradients do not learn, after the last epoch and in evaluation mode.

        Most members have no such parameters. images: the training split, not flipped; cache: a folder for results that
        are expensive to compute, which a stopped run leaves to the next one. Returns figures for the log.
        """
        return {}
