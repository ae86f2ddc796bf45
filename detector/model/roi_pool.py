"""RoIAlign (He et al., ICCV 2017) from the pyramid level that suits each box.

Shapes: B images, R regions of interest, D channels, S bins a side.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detector.model.roi_align import roi_align

BINS = 7
# Bilinear samples per bin and axis. A bin has 1 to 2 cells, for which more samples change little (He et al. find the
# same) and take four times as long.
_SAMPLES = 1
# A box with this side in pixels is read from the level of stride 16, as are ImageNet's 224-pixel images in Lin et al.
# 2017, eq. 1.
_REFERENCE_SIDE, _REFERENCE_STRIDE = 224.0, 16


def assign_levels(boxes: Tensor, strides: Sequence[int]) -> Tensor:
    """Return for boxes (R, 4) xyxy in pixels the indices (R,) int64 into `strides`, each of which doubles the last."""
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=1e-6).sqrt()
    octave = torch.floor(torch.log2(side / _REFERENCE_SIDE) + 1e-6)  # 0: as large as the reference
    reference = float(list(strides).index(_REFERENCE_STRIDE))
    return (octave + reference).clamp(0, len(strides) - 1).to(torch.int64)


def numbered(boxes: Sequence[Tensor]) -> Tensor:
    """Return boxes B x (R_b, 4) xyxy as regions of interest (R, 5): the index of the image, and the box."""
    return torch.cat([torch.cat([own.new_full((own.shape[0], 1), i), own], dim=1) for i, own in enumerate(boxes)])


def pool(features: Sequence[Tensor], strides: Sequence[int], rois: Tensor) -> Tensor:
    """Return the pooled features (R, D, S, S).

    features: L x (B, D, H_l, W_l); rois: float32 (R, 5), rows of image index and xyxy in pixels; R may be 0. The
    features are read in float32, because torchvision has no half-precision kernel for CPUs.
    """
    levels = assign_levels(rois[:, 1:], strides)
    pooled, places = [], []
    for index, (feature, stride) in enumerate(zip(features, strides, strict=True)):
        place = torch.nonzero(levels == index).squeeze(1)  # (R_l,)
        pooled.append(roi_align(feature.float(), rois[place], BINS, 1.0 / stride, _SAMPLES))
        places.append(place)
    return torch.cat(pooled)[torch.argsort(torch.cat(places))]
