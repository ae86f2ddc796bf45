"""Turns records into the typed tables that the rules judge."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jobs.formats import ERRORS, Record
from jobs.rules.overlap import suppressible

if TYPE_CHECKING:
    import pandas as pd


class Batch:
    """The records of several parts. `images` are their URIs; the column `subject` of the tables holds their numbers."""

    def __init__(self) -> None:
        self.images: list[str] = []
        self.boxes = 0
        self._statuses: list[str] = []
        self._consistent: list[bool] = []
        self._labels: list[str] = []
        # Arrays, one for each part: Python's own numbers would take five times the memory.
        self._counts: list[NDArray[np.int64]] = []
        self._sizes: list[NDArray[np.float64]] = []  # (records, 2) width, height
        self._numbers: list[NDArray[np.float64]] = []  # (boxes, 5) score, x, y, width, height

    @property
    def records(self) -> int:
        """The number of records."""
        return len(self.images)

    def add(self, records: Sequence[Record]) -> None:
        """Append the records of one part."""
        boxes = [box for record in records for box in record.boxes]
        self.images += [record.image for record in records]
        self._statuses += [record.status for record in records]
        self._consistent += [_is_consistent(record) for record in records]
        self._labels += [box.label for box in boxes]
        self._counts.append(np.array([len(record.boxes) for record in records], np.int64))
        sizes = [(record.width, record.height) for record in records]  # None becomes NaN
        self._sizes.append(np.array(sizes, np.float64).reshape(-1, 2))
        numbers = [(box.score, box.x, box.y, box.width, box.height) for box in boxes]
        self._numbers.append(np.array(numbers, np.float64).reshape(-1, 5))
        self.boxes += len(boxes)

    def record_frame(self) -> pd.DataFrame:
        """One row a record: subject int64, status, consistent bool, boxes int64."""
        import pandas as pd

        statuses, counts = pd.Categorical(self._statuses), _joined(self._counts)
        return pd.DataFrame({
            "subject": np.arange(self.records), "status": statuses, "consistent": self._consistent, "boxes": counts,
        })  # fmt: skip

    def box_frame(self, threshold: float, most: int) -> pd.DataFrame:
        """One row a box: subject int64, label, float64 score and edges in pixels, its image's size, and `apart` bool.

        The size is infinite where the record has none, which another rule finds. A box is apart where no better box of
        its label in its image overlaps it by more than `threshold` (IoU); most: boxes that an image may have.
        """
        import pandas as pd

        score, x, y, width, height = _joined(self._numbers, 5).T
        subject = np.repeat(np.arange(self.records), _joined(self._counts))
        sizes = np.nan_to_num(_joined(self._sizes, 2), nan=np.inf)[subject]
        labels = pd.Categorical(self._labels)
        edges = np.stack([x, y, x + width, y + height], axis=1).astype(np.float32)
        apart = ~suppressible(subject, labels.codes.astype(np.int64), edges, threshold, most)
        return pd.DataFrame({
            "subject": subject, "label": labels, "score": score, "x": x, "y": y, "width": width,
            "height": height, "right": x + width, "bottom": y + height, "image_width": sizes[:, 0],
            "image_height": sizes[:, 1], "apart": apart,
        })  # fmt: skip


def _is_consistent(record: Record) -> bool:
    """Whether a record's fields agree with its status. Another rule finds an unknown status."""
    if record.status not in ERRORS:
        return True
    if record.error != ERRORS[record.status]:
        return False
    if record.status != "ok":
        return record.width is None and record.height is None and not record.boxes
    if record.width is None or record.height is None or record.width < 1 or record.height < 1:
        return False
    return all(one.score >= next.score for one, next in pairwise(record.boxes))


def _joined(arrays: list[NDArray[Any]], *shape: int) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.zeros((0, *shape), np.float64 if shape else np.int64)
