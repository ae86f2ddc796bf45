"""Measures how many truths the proposals cover. No detector that uses these proposals can find the others.

The measures are those of Uijlings et al. 2013, "Selective Search for Object Recognition".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from detector.data.annotations import CocoDataset
from detector.runtime.geometry.boxes import Boxes, empty, iou

# Numbers of proposals at which the curve of recall has a point; its last point is at the number asked for.
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


class RecallPoint(TypedDict):
    """One point of the curve: what the first `proposals` boxes of each image reach."""

    proposals: int
    recall_50: float
    recall_70: float
    mabo: float


@dataclass(frozen=True)
class ProposalRecall:
    """The measures by the number of proposals per image; they are NaN without truths.

    recall[budget][iou]: the part of all truths that one of the image's first `budget` proposals overlaps by at least
    `iou`. mabo[budget]: the best overlap of each truth, as the mean over the classes of their means.
    """

    recall: Mapping[int, Mapping[float, float]]
    mabo: Mapping[int, float]


def proposal_recall(
    truth: CocoDataset,
    proposals: Mapping[int, Boxes],
    budgets: Sequence[int] = (100, 300, 1000, 2000),
    ious: Sequence[float] = (0.5, 0.7),
) -> ProposalRecall:
    """Measure the proposals; ignored truths and crowds are left out.

    proposals: float32 (N, 4) xyxy by image id, best first; an image that is not a key has none.
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


def recall_curve(truth: CocoDataset, proposals: Mapping[int, Boxes], most: int) -> list[RecallPoint]:
    """Return recall and MABO for 1 to `most` proposals per image, at steps that are even on a logarithmic axis."""
    budgets = [*(step for step in _STEPS if step < most), most]
    result = proposal_recall(truth, proposals, budgets)
    return [
        {
            "proposals": budget,
            "recall_50": result.recall[budget][0.5],
            "recall_70": result.recall[budget][0.7],
            "mabo": result.mabo[budget],
        }
        for budget in budgets
    ]
