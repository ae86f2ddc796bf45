"""R-CNN (Girshick et al., CVPR 2014): every proposal is warped to the CNN's input, classified and refined.

Shapes: R proposals over all images, D channels of the backbone's last map, C classes without the background.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from detector.model.crops import CropNetwork
from detector.model.deltas import decode
from detector.model.feature_cache import cache_features
from detector.model.heads import LinearHead, SvmHead
from detector.model.losses import multi_task_loss
from detector.model.network import Losses
from detector.model.targets import concatenate, draw_regions
from detector.model.training_images import Example, TrainingImages
from detector.params import ModelSettings, TrainSettings


class RCNN(CropNetwork):
    """Computes a softmax and box deltas from each proposal's vector.

    With `model.head: svm` these only fine-tune the CNN. Detection then uses the SVMs and regressions that `fit` fits on
    the same vectors.
    """

    def __init__(self, settings: ModelSettings, classes: int, weights: str) -> None:
        """Build the network; weights: "imagenet" or a file, of the backbone, or "none" if all are loaded afterwards."""
        super().__init__(settings, weights)
        self.image_size = settings.image_size
        self.head = LinearHead(self.channels, classes)
        self.svm = SvmHead(self.channels, classes) if settings.head == "svm" else None
        self.needs_fit = self.svm is not None

    def forward(self, images: Tensor, examples: Sequence[Example], settings: TrainSettings) -> Losses:
        proposals = [example.proposals.to(images.device) for example in examples]
        drawn = draw_regions(proposals, examples, settings.regions)
        logits, deltas = self.head(self.dropout(self.vectors(images, [targets.boxes for targets in drawn])))
        return multi_task_loss(logits, deltas, concatenate(drawn), settings.box_weight)

    def fit(self, images: TrainingImages, settings: TrainSettings, cache: Path) -> dict[str, float]:
        if self.svm is None:
            return {}
        from detector.model.svm import fit_head  # only this needs scikit-learn, which takes a second to import

        start, cpu_start = time.monotonic(), time.process_time()
        features = cache_features(self, images, self.image_size, cache)
        cached = time.monotonic()
        counts = fit_head(self.svm, features, images.classes, settings.seed)
        return {
            "svm/cached_bytes": float(features.bytes),
            "svm/caching_seconds": cached - start,
            "svm/fitting_seconds": time.monotonic() - cached,
            "svm/cpu_seconds": time.process_time() - cpu_start,
            **{f"svm/{name}": float(count) for name, count in counts.items()},
        }

    def detect(self, image: Tensor, proposals: Tensor, max_proposals: int) -> tuple[Tensor, Tensor]:
        vectors = self.vectors(image, [proposals])
        if self.svm is not None:
            scores, deltas = self.svm(vectors)
        else:
            logits, deltas = self.head(vectors)
            scores = logits.softmax(dim=1)[:, 1:]
        return scores, decode(proposals, deltas)
