"""The region proposal network of Faster R-CNN (Ren et al., NeurIPS 2015), made of torchvision's parts.

Shapes: B images, A anchors of one image over all levels, R proposals of one image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from detector.model.network import Losses
from detector.model.targets import coverage
from detector.model.training_images import Example
from detector.params import RPN_PROPOSALS

# Anchors have nine sizes in even steps from 20 to 360 pixels, three for each level, and three shapes. The size of any
# box in an image of 400 pixels is within a factor of 1.2 of one of them.
_SIDES = ((20, 29, 41), (59, 85, 122), (175, 251, 360))
_RATIOS = (0.5, 1.0, 2.0)  # height over width
# Section 3.1: an anchor is an object from IoU .7 on, and background below .3; 256 are drawn for each image, and up to
# half of them are objects.
_FOREGROUND_IOU, _BACKGROUND_IOU = 0.7, 0.3
_DRAWN, _OBJECTS = 256, 0.5
# An anchor that covers an ignored object by this much is not background.
_IGNORED_IOU = 0.5
# The number kept of each level before suppression at IoU .7 (section 3.3 keeps 6,000 of one level). In use, three for
# each wanted proposal are enough: with 1,000 of each level, suppression takes a sixth of an image's time, and the
# proposals are no better.
_KEPT_A_LEVEL = RPN_PROPOSALS
_KEPT_FOR_EACH = 3
_NMS_IOU = 0.7


class _Head(RPNHead):
    """Returns float32 also under autocast, because coordinates in bfloat16 would be wrong by whole pixels."""

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        objectness, deltas = super().forward(features)
        return [level.float() for level in objectness], [level.float() for level in deltas]


class _Sampler:
    """Replaces torchvision's sampler, so that the draw of an image depends only on its own generator."""

    def __init__(self) -> None:
        self.generators: list[torch.Generator] = []

    def __call__(self, labels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return two masks B x (A,), of objects and of background, for labels B x (A,): 1, 0, or -1 for neither."""
        masks = []
        for own, generator in zip(labels, self.generators, strict=True):
            objects = self._mask(own == 1, int(_DRAWN * _OBJECTS), generator)
            masks.append((objects, self._mask(own == 0, _DRAWN - int(objects.sum()), generator)))
        return [objects for objects, _ in masks], [background for _, background in masks]

    @staticmethod
    def _mask(wanted: Tensor, count: int, generator: torch.Generator) -> Tensor:
        found = torch.nonzero(wanted).squeeze(1)
        drawn = torch.zeros_like(wanted)
        drawn[found[torch.randperm(len(found), generator=generator)[:count]]] = True
        return drawn


class ProposalNetwork(RegionProposalNetwork):
    """Computes objectness and a refined box for every anchor; the best ones, after suppression, are the proposals."""

    def __init__(self, channels: int, strides: Sequence[int]) -> None:
        if len(strides) != len(_SIDES):
            raise ValueError(f"anchors are set for {len(_SIDES)} levels, not {len(strides)}")
        anchors = AnchorGenerator(_SIDES, (_RATIOS,) * len(_SIDES))
        limit = {"training": _KEPT_A_LEVEL, "testing": _KEPT_A_LEVEL}
        super().__init__(
            anchors,
            _Head(channels, anchors.num_anchors_per_location()[0]),
            _FOREGROUND_IOU,
            _BACKGROUND_IOU,
            _DRAWN,
            _OBJECTS,
            limit,
            dict(limit),
            _NMS_IOU,
        )
        self.fg_bg_sampler = _Sampler()

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Assign targets as torchvision does, but to no anchors on ignored objects or in the padding of a batch.

        targets: for each image "boxes" (G, 4), "ignore" (I, 4) with "crowd" (I,) bool, and "frame" (2,), its width and
        height.
        """
        labels, matched = super().assign_targets_to_anchors(anchors, targets)
        for own, places, target in zip(labels, anchors, targets, strict=True):
            if len(target["ignore"]):
                near = coverage(places, target["ignore"], target["crowd"]).amax(dim=1) >= _IGNORED_IOU
                own[near & (own == 0)] = -1.0
            centres = 0.5 * (places[:, :2] + places[:, 2:])
            own[(centres >= target["frame"]).any(dim=1)] = -1.0
        return labels, matched

    def learn(
        self, images: Tensor, features: Sequence[Tensor], examples: Sequence[Example], max_proposals: int
    ) -> tuple[list[Tensor], Losses]:
        """Return proposals B x (R_b, 4) xyxy, best first, and the losses {"objectness", "rpn_box"}.

        images: (B, 3, H, W); features: float32 (B, D, H_l, W_l).
        """
        self.fg_bg_sampler.generators = [example.generator("anchors") for example in examples]
        sizes = [(example.image.shape[1], example.image.shape[2]) for example in examples]
        targets = [
            {
                "boxes": example.truth[~example.ignore].to(images.device),
                "ignore": example.truth[example.ignore].to(images.device),
                "crowd": example.crowd[example.ignore].to(images.device),
                "frame": images.new_tensor([width, height]),
            }
            for example, (height, width) in zip(examples, sizes, strict=True)
        ]
        boxes, losses = super().forward(ImageList(images, sizes), _named(features), targets)
        return (
            [own[:max_proposals] for own in boxes],
            {"objectness": losses["loss_objectness"], "rpn_box": losses["loss_rpn_box_reg"]},
        )

    def propose(self, image: Tensor, features: Sequence[Tensor], max_proposals: int) -> Tensor:
        """Return proposals (R, 4) xyxy inside the image, best first.

        image: (1, 3, H, W); features: float32 (1, D, H_l, W_l).
        """
        height, width = image.shape[-2:]
        self._pre_nms_top_n["testing"] = min(_KEPT_A_LEVEL, _KEPT_FOR_EACH * max_proposals)
        return super().forward(ImageList(image, [(height, width)]), _named(features))[0][0][:max_proposals]


def _named(features: Sequence[Tensor]) -> dict[str, Tensor]:
    return {str(level): maps for level, maps in enumerate(features)}
