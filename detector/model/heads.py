"""The heads: layers that compute scores and boxes for each region of interest, or for a whole image.

Shapes: R regions of interest, D channels, S bins a side, C classes without the background.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# A score is the sigmoid of the margin times this factor, so that negatives that mining drops as easy
# (`detector.model.svm`) get scores below .01.
_SVM_SLOPE = 4.0
# The margin of an SVM without samples, or before the fit, which gives a score of 4e-18.
_SVM_NOTHING = -10.0

# The channels of a light head's maps. The paper has 10 for each of 7 x 7 places in a region, and a place reads only its
# own 10. ONNX has no such operation: here all places read the same maps, which must have more channels for that.
THIN = 32

# The names of a head's last layer for boxes, with a box for each class, or with one for all. They differ, so that a
# detector with the one is never filled from a detector with the other.
BOX_LAYERS = ("deltas", "shared_box")


class ClassLayer(nn.Linear):
    """A last layer with `rows` outputs for each class, after one for the background if there is one.

    Its outputs start near zero: its weights have this standard deviation, and its bias is 0.
    """

    def __init__(self, inputs: int, classes: int, deviation: float, *, rows: int = 1, background: bool = False) -> None:
        super().__init__(inputs, background + rows * classes)
        self.rows, self.background = rows, background
        nn.init.normal_(self.weight, std=deviation)
        nn.init.zeros_(self.bias)

    def rows_of(self, label: int) -> slice:
        """Return which outputs belong to the class with this index."""
        start = self.background + self.rows * label
        return slice(start, start + self.rows)


def hidden_layers(inputs: int, hidden: int, dropout: float) -> nn.Sequential:
    """Return two hidden layers with dropout between them, from (R, D, S, S), D * S * S = inputs, to (R, hidden)."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.ReLU(inplace=True),
    )


class LinearHead(nn.Module):
    """Computes class logits and box deltas from a vector: four for each class, or four for all of them.

    Class 0 is the background. The outputs start near zero, so that training starts with uniform classes and unmoved
    boxes (standard deviations .01 and .001, Girshick 2015, section 2.3).
    """

    def __init__(self, inputs: int, classes: int, one_box: bool = False) -> None:
        """one_box: the box is the same for all classes."""
        super().__init__()
        self.classes = ClassLayer(inputs, classes, 0.01, background=True)
        self.one_box = one_box
        if one_box:
            self.shared_box = nn.Linear(inputs, 4)
            nn.init.normal_(self.shared_box.weight, std=0.001)
            nn.init.zeros_(self.shared_box.bias)
        else:
            self.deltas = ClassLayer(inputs, classes, 0.001, rows=4)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:  # (R, inputs)
        deltas = self.shared_box(vectors) if self.one_box else self.deltas(vectors)
        return self.classes(vectors), deltas.reshape(-1, deltas.shape[1] // 4, 4)  # (R, C + 1), (R, C or 1, 4)


class RegionHead(LinearHead):
    """Two hidden layers before the class logits and box deltas (Girshick 2015, figure 1)."""

    def __init__(
        self, channels: int, bins: int, hidden: int, classes: int, dropout: float, one_box: bool = False
    ) -> None:
        super().__init__(hidden, classes, one_box)
        self.layers = hidden_layers(channels * bins * bins, hidden, dropout)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:  # (R, D, S, S)
        return super().forward(self.layers(pooled))


class LightHead(LinearHead):
    """One hidden layer, for regions that are read from thin maps of `THIN` channels (Li et al. 2017, "Light-Head
    R-CNN", section 3)."""

    def __init__(self, bins: int, hidden: int, classes: int, dropout: float, one_box: bool = False) -> None:
        super().__init__(hidden, classes, one_box)
        self.layer = nn.Sequential(
            nn.Flatten(), nn.Linear(THIN * bins * bins, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout)
        )

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:  # (R, THIN, S, S)
        return super().forward(self.layer(pooled))


class SvmHead(nn.Module):
    """One linear SVM and one linear box regression for each class (Girshick et al. 2014, sections 2.3 and C).

    They are fitted, not trained by gradients. The scores are sigmoids of the margins, not a softmax over the classes,
    because each SVM is fitted independently. A sigmoid keeps the order within a class, which decides average precision,
    and gives scores in [0, 1] like those of the other members; they are not probabilities.
    """

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.margins = ClassLayer(inputs, classes, 0.0)
        self.deltas = ClassLayer(inputs, classes, 0.0, rows=4)
        self.requires_grad_(False)
        nn.init.constant_(self.margins.bias, _SVM_NOTHING)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:  # (R, inputs)
        deltas = self.deltas(vectors)
        scores = torch.sigmoid(_SVM_SLOPE * self.margins(vectors))
        return scores, deltas.reshape(-1, deltas.shape[1] // 4, 4)  # (R, C), (R, C, 4)
