"""How much of the truth the proposals cover: the ceiling of every detector built on them.

Measures of Uijlings et al. 2013, "Selective Search for Object Recognition".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.data.annotations import CocoDataset
from detector.geometry.boxes import Boxes, empty, iou


@dataclass(frozen=True)
class ProposalRecall:
    """recall[budget][iou]: the part of all truths that one of an image's first `budget` proposals overlaps by at least
    `iou`. mabo[budget]: mean over classes of the mean best overlap of their truths. NaN without truths."""

    recall: Mapping[int, Mapping[float, float]]
    mabo: Mapping[int, float]


def proposal_recall(
    truth: CocoDataset,
    proposals: Mapping[int, Boxes],
    budgets: Sequence[int] = (100, 300, 1000, 2000),
    ious: Sequence[float] = (0.5, 0.7),
) -> ProposalRecall:
    """proposals: by image id, float32 (N, 4) xyxy, best first; an image that is not a key has none.

    Ignored truths and crowds are left out.
    """
    labels: list[NDArray[np.int64]] = []
    best: list[NDArray[np.float32]] = []  # each (T, len(budgets))
    for image in truth.images:
        wanted = ~(image.ignore | image.crowd)
        overlaps = iou(image.boxes[wanted], proposals.get(image.id, empty()))  # (T, N)
        labels.append(image.labels[wanted])
        best.append(np.stack([overlaps[:, :budget].max(axis=1, initial=np.float32(0)) for budget in budgets], axis=1))
    all_labels = np.concatenate(labels or [np.zeros(0, np.int64)])
    all_best = np.concatenate(best or [np.zeros((0, len(budgets)), np.float32)])
    present = np.unique(all_labels)
    recall: dict[int, dict[float, float]] = {}
    mabo: dict[int, float] = {}
    for column, budget in enumerate(budgets):
        overlap = all_best[:, column]
        some = len(overlap) > 0
        recall[budget] = {t: float((overlap >= t).mean()) if some else float("nan") for t in ious}
        by_class = [float(overlap[all_labels == label].mean()) for label in present]
        mabo[budget] = float(np.mean(by_class)) if some else float("nan")
    return ProposalRecall(recall, mabo)
