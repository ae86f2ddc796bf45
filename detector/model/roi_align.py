"""RoIAlign (He et al., ICCV 2017): crops boxes from maps, with bilinear samples."""

from __future__ import annotations

import torch
import torchvision  # noqa: F401 (registers the operator)
from torch import Tensor


def roi_align(maps: Tensor, rois: Tensor, bins: int, scale: float, samples: int) -> Tensor:
    """Return crops float32 (R, D, bins, bins).

    maps: float32 (B, D, H, W); rois: float32 (R, 5), rows of image index and xyxy, which `scale` turns into cells of
    the maps; samples: of each bin along an axis. R may be 0.

    In repeatable mode torchvision's own function compiles another implementation for a GPU, which needs a C compiler
    and a minute. The gradient of its operator is not repeatable on a GPU, and torch warns.
    """
    crops: Tensor = torch.ops.torchvision.roi_align(maps, rois, scale, bins, bins, samples, True)
    return crops
