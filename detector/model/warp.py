"""Crops each proposal and stretches it to one size: R-CNN's input (Girshick et al., CVPR 2014, appendix A).

Shapes: B images, R regions of interest over all images, S the crops' side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detector.model.roi_align import roi_align

# In the paper, "tightest square without context" is worse than the anisotropic warp with 16 pixels of context on each
# side of a crop of 227 pixels.
_CONTEXT = 16 / 227
# Bilinear samples per pixel of the crop and axis: down to a quarter of the size, no pixel of the image is skipped.
_SAMPLES = 2


def with_context(boxes: Tensor) -> Tensor:
    """Return the boxes (R, 4) xyxy with context, so that each fills the middle 195 of 227 pixels of its crop.

    The results may reach outside the image.
    """
    grow = 0.5 * (1 / (1 - 2 * _CONTEXT) - 1)
    margin = grow * (boxes[:, 2:] - boxes[:, :2])
    return torch.cat([boxes[:, :2] - margin, boxes[:, 2:] + margin], dim=1)


def warp(images: Tensor, boxes: Sequence[Tensor], side: int) -> Tensor:
    """Return crops float32 (R, 3, S, S), image after image, each stretched to a square without keeping its ratio.

    images: float32 (B, 3, H, W), normalised; boxes: B x (R_b, 4) xyxy in pixels; R may be 0. Outside the image a crop
    is zero, which is the mean colour; within half a pixel of the edge it repeats the edge.
    """
    rois = torch.cat(
        [torch.cat([own.new_full((own.shape[0], 1), i), with_context(own)], dim=1) for i, own in enumerate(boxes)]
    )  # (R, 5)
    return roi_align(images.float(), rois, side, 1.0, _SAMPLES)
