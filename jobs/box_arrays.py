"""The boxes of records as arrays, in which they are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.formats import Record


class BoxArrays(NamedTuple):
    """Boxes whose label the artifact has, in images of a known size.

    records: int64 (N,), the place of each box's record in the sequence; labels: int64 (N,); scores: float64 (N,);
    shares: float64 (N,), of the image's area.
    """

    records: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    shares: NDArray[np.float64]


def box_arrays(records: Sequence[Record], numbers: Mapping[str, int]) -> BoxArrays:
    """The boxes of records; numbers: the number of each label."""
    boxes: list[tuple[int, int, float, float]] = []
    for place, record in enumerate(records):
        area = (record.width or 0) * (record.height or 0)
        if area > 0:
            boxes += (
                (place, numbers[box.label], box.score, max(0.0, box.width) * max(0.0, box.height) / area)
                for box in record.boxes
                if box.label in numbers
            )
    places, labels, scores, shares = np.array(boxes, np.float64).reshape(-1, 4).T
    return BoxArrays(places.astype(np.int64), labels.astype(np.int64), scores, shares)
