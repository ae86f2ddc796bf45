"""What is computed for each region of interest.

Shapes: R regions of interest, D channels, S bins a side, C classes without the background.
"""

from __future__ import annotations

from torch import Tensor, nn


class RegionHead(nn.Module):
    """Two hidden layers, then class logits and per-class box deltas (Girshick 2015, figure 1).

    Class 0 is the background. The outputs start near zero, so that training starts from uniform classes and unmoved
    boxes (standard deviations .01 and .001, Girshick 2015, section 2.3).
    """

    def __init__(self, channels: int, bins: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * bins * bins, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
        )
        self.classes = nn.Linear(hidden, classes + 1)
        self.deltas = nn.Linear(hidden, classes * 4)
        for layer, deviation in ((self.classes, 0.01), (self.deltas, 0.001)):
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.zeros_(layer.bias)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:  # (R, D, S, S)
        hidden = self.layers(pooled)  # (R, hidden)
        deltas = self.deltas(hidden)
        return self.classes(hidden), deltas.reshape(-1, deltas.shape[1] // 4, 4)  # (R, C + 1), (R, C, 4)
