"""Each proposal as a picture of its own, of one size: R-CNN's input (Girshick et al., CVPR 2014, appendix A).

Shapes: B images, R regions of interest over all images, S the crops' side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

# "Tightest square without context" loses to the anisotropic warp with 16 pixels of context on each side of the crop,
# which the paper's network takes at 227 pixels.
_CONTEXT = 16 / 227
# Bilinear samples a pixel of the crop and axis: nothing of the picture is jumped over where it shrinks to a quarter.
_SAMPLES = 2


def with_context(boxes: Tensor) -> Tensor:
    """boxes (R, 4) xyxy -> (R, 4), larger so that the box takes the crop's middle 195 of 227 pixels; may leave the
    image."""
    grow = 0.5 * (1 / (1 - 2 * _CONTEXT) - 1)
    margin = grow * (boxes[:, 2:] - boxes[:, :2])
    return torch.cat([boxes[:, :2] - margin, boxes[:, 2:] + margin], dim=1)


def warp(images: Tensor, boxes: Sequence[Tensor], side: int) -> Tensor:
    """images float32 (B, 3, H, W), normalised; boxes B x (R_b, 4) xyxy in pixels -> crops float32 (R, 3, S, S), image
    after image, each stretched to the square without keeping its ratio.

    What lies outside the image is zero, the mean colour; the half pixel next to the edge repeats it. R may be 0.
    """
    rois = torch.cat(
        [torch.cat([own.new_full((own.shape[0], 1), i), with_context(own)], dim=1) for i, own in enumerate(boxes)]
    )  # (R, 5)
    return roi_align(images.float(), rois, side, 1.0, _SAMPLES, aligned=True)
