"""The region proposal network of Faster R-CNN (Ren et al., NeurIPS 2015), made of torchvision's parts.

Shapes: B images, A anchors of one image over all levels, R proposals of one image.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection._utils import _topk_min
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from detector.model.depthwise import separable
from detector.model.network import Losses
from detector.model.suppression import suppress
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

    def __init__(self, channels: int, anchors: int, light: bool) -> None:
        super().__init__(channels, anchors)
        if light:
            # Their names differ from those of the other convolution, whose weights would not fit.
            self.conv = nn.Sequential(
                OrderedDict(separable=separable(channels, channels), activation=nn.ReLU(inplace=True))
            )

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

    def __init__(self, channels: int, strides: Sequence[int], light: bool = False) -> None:
        """light: the convolution before the scores is separable."""
        if len(strides) != len(_SIDES):
            raise ValueError(f"anchors are set for {len(_SIDES)} levels, not {len(strides)}")
        anchors = AnchorGenerator(_SIDES, (_RATIOS,) * len(_SIDES))
        limit = {"training": _KEPT_A_LEVEL, "testing": _KEPT_A_LEVEL}
        super().__init__(
            anchors,
            _Head(channels, anchors.num_anchors_per_location()[0], light),
            _FOREGROUND_IOU,
            _BACKGROUND_IOU,
            _DRAWN,
            _OBJECTS,
            limit,
            dict(limit),
            _NMS_IOU,
        )
        self.fg_bg_sampler = _Sampler()
        self._strides = tuple(strides)

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

    def propose(self, images: Tensor, features: Sequence[Tensor], max_proposals: int) -> tuple[Tensor, Tensor]:
        """Return proposals (B, R, 4) xyxy inside the images, best first, and which of them are there, bool (B, R).

        images: (B, 3, H, W); features: float32 (B, D, H_l, W_l). R is `max_proposals`: rows of an image with fewer are
        filled up. These are torchvision's steps, for all images at once, so that a graph of them takes any batch.
        """
        most = min(_KEPT_A_LEVEL, _KEPT_FOR_EACH * max_proposals)
        kept_boxes, kept_scores, kept_levels = [], [], []
        for level, (logits, deltas) in enumerate(zip(*self.head(list(features)), strict=True)):
            flat_logits, flat_deltas = _by_anchor(logits, 1).squeeze(2), _by_anchor(deltas, 4)  # (B, A_l), (B, A_l, 4)
            scores, places = flat_logits.topk(_topk_min(flat_logits, most, 1), dim=1)  # (B, k)
            anchors = self._anchors(level, logits, images)[places]  # (B, k, 4)
            chosen = flat_deltas.gather(1, places[..., None].expand(-1, -1, 4))
            boxes = self.box_coder.decode_single(chosen.reshape(-1, 4), anchors.reshape(-1, 4)).reshape(anchors.shape)
            kept_boxes.append(_clipped(boxes, images))
            kept_scores.append(torch.sigmoid(scores))
            kept_levels.append(torch.full_like(places[0], level))
        boxes, scores = torch.cat(kept_boxes, dim=1), torch.cat(kept_scores, dim=1)  # (B, N, 4), (B, N)
        gone = torch.full_like(scores, -torch.inf)
        large = (boxes[..., 2:] - boxes[..., :2] >= self.min_size).all(dim=2)
        scores = torch.where(large, scores, gone)
        kept = suppress(boxes, scores, torch.cat(kept_levels), len(features), _NMS_IOU)
        # Rows that are not there fill up the proposals of an image that has fewer.
        scores = functional.pad(torch.where(kept, scores, gone), (0, max_proposals), value=-torch.inf)
        best, order = scores.topk(max_proposals, dim=1)  # (B, R)
        boxes = functional.pad(boxes, (0, 0, 0, max_proposals))
        return boxes.gather(1, order[..., None].expand(-1, -1, 4)), best > 0

    def _anchors(self, level: int, maps: Tensor, images: Tensor) -> Tensor:
        """Return the anchors of a level, (A_l, 4) xyxy in pixels, in the order of `_by_anchor`."""
        height, width = maps.shape[-2:]
        stride = self._strides[level]
        cells = self.anchor_generator.cell_anchors[level].to(images)  # (a, 4) around 0
        xs, ys = (torch.arange(count, device=images.device).to(images) * stride for count in (width, height))
        y, x = torch.meshgrid(ys, xs, indexing="ij")
        shifts = torch.stack([x.reshape(-1), y.reshape(-1), x.reshape(-1), y.reshape(-1)], dim=1)
        return (shifts[:, None] + cells[None]).reshape(-1, 4)


def _by_anchor(maps: Tensor, values: int) -> Tensor:
    """Return (B, a * values, H, W) as (B, H * W * a, values): row after row, and in each cell anchor after anchor."""
    batch, channels, height, width = maps.shape
    return maps.view(batch, channels // values, values, height, width).permute(0, 3, 4, 1, 2).reshape(batch, -1, values)


def _clipped(boxes: Tensor, images: Tensor) -> Tensor:
    """Return boxes (B, k, 4) clipped to the images."""
    height, width = (torch.as_tensor(side).to(boxes) for side in images.shape[-2:])
    x, y = (boxes[..., axis::2].clamp(min=0).minimum(side) for axis, side in ((0, width), (1, height)))
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=2)


def _named(features: Sequence[Tensor]) -> dict[str, Tensor]:
    return {str(level): maps for level, maps in enumerate(features)}
