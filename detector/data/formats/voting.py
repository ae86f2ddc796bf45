"""Makes one list of boxes of those that several detectors found in the same image.

This is weighted boxes fusion, in which a detector has one vote for an object (Solovyev, Wang and Gabruseva, "Weighted
boxes fusion: Ensembling boxes from different object detection models", Image and Vision Computing 107, 2021).
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.data.published import Box
from detector.runtime.geometry.boxes import iou

# Boxes of one label with a larger IoU are of one object: the paper's value.
SAME_OBJECT = 0.55
# Scores have four digits, so that three runs with .35 each agree on .35 and not on a little less.
_DIGITS = 4


class Ballot(NamedTuple):
    """What one detector says of an image: the labels that it knows, and its boxes."""

    labels: Container[str]
    boxes: Sequence[Box]


def vote(ballots: Sequence[Ballot]) -> list[Box]:
    """Return one box for each object that at least one detector has found, the highest score first.

    Scores must mean the same for all detectors, as calibrated ones do. The edges of an object are the mean of its
    boxes' edges, weighted by their scores. Its score is the mean of the highest score that each detector gave it, and 0
    from one that knows the label and did not find it: an object that one of three finds with .9 has .3. The paper
    counts boxes instead, so that two boxes of one detector would be two votes. The order of the ballots does not
    matter.
    """
    found = [(box, number) for number, ballot in enumerate(ballots) for box in ballot.boxes]
    found.sort(key=lambda item: (-item[0].score, item[0].label, _edges(item[0])))
    fused: list[_Fused] = []
    for box, number in found:
        alike = [other for other in fused if other.label == box.label]
        overlaps = _overlaps(box, alike)
        best = int(overlaps.argmax()) if alike else -1
        if alike and overlaps[best] > SAME_OBJECT:
            alike[best].add(box, number)
        else:
            fused.append(_Fused(box, number))
    boxes = [one.box(voters=sum(one.label in ballot.labels for ballot in ballots)) for one in fused]
    return sorted(boxes, key=lambda box: (-box.score, box.label, _edges(box)))


class _Fused:
    """The boxes of one object so far."""

    def __init__(self, box: Box, number: int) -> None:
        self.label = box.label
        self._weighted = np.zeros(4)
        self._weight = 0.0
        self._scores: dict[int, float] = {}
        self.add(box, number)

    def add(self, box: Box, number: int) -> None:
        # A score of 0 has no weight, but its box must have edges if it is the only one.
        weight = max(box.score, 1e-6)
        self._weighted += weight * np.array(_edges(box))
        self._weight += weight
        self._scores[number] = max(self._scores.get(number, 0.0), box.score)

    @property
    def edges(self) -> tuple[float, float, float, float]:
        x1, y1, x2, y2 = (self._weighted / self._weight).tolist()
        return x1, y1, x2, y2

    def box(self, voters: int) -> Box:
        x1, y1, x2, y2 = self.edges
        score = round(sum(self._scores.values()) / voters, _DIGITS)
        return Box(label=self.label, score=score, x=x1, y=y1, width=x2 - x1, height=y2 - y1)


def _edges(box: Box) -> tuple[float, float, float, float]:
    return box.x, box.y, box.x + box.width, box.y + box.height


def _overlaps(box: Box, others: Sequence[_Fused]) -> NDArray[np.float32]:
    edges = np.array([other.edges for other in others], np.float32).reshape(-1, 4)
    return iou(np.array([_edges(box)], np.float32), edges)[0]
