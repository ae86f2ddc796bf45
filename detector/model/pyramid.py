"""Feature pyramid (Lin et al., CVPR 2017): each level combines the meaning of coarse maps with the detail of fine ones.

Shapes: B images, L levels, D channels of the pyramid.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from detector.model.depthwise import separable


class FeaturePyramid(nn.Module):
    """Turns L maps (B, C_l, H_l, W_l), each half the size of the one before, into L maps (B, D, H_l, W_l)."""

    def __init__(self, channels: Sequence[int], depth: int, light: bool = False) -> None:
        """light: the last convolutions are separable."""
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, depth, 1) for c in channels)
        self.smooth = nn.ModuleList(
            separable(depth, depth) if light else nn.Conv2d(depth, depth, 3, padding=1) for _ in channels
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        laterals = [conv(x) for conv, x in zip(self.lateral, features, strict=True)]
        for level in range(len(laterals) - 1, 0, -1):
            up = nn.functional.interpolate(laterals[level], scale_factor=2.0, mode="nearest")
            laterals[level - 1] = laterals[level - 1] + up
        return [conv(x) for conv, x in zip(self.smooth, laterals, strict=True)]
