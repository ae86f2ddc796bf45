"""A custom expectation: of two boxes of one label in one image, non-maximum suppression leaves only one when they
overlap too much.

Importing this module imports Great Expectations.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import MulticolumnMapExpectation
from great_expectations.expectations.metrics.map_metric_provider import MulticolumnMapMetricProvider
from great_expectations.expectations.metrics.map_metric_provider.multicolumn_condition_partial import (
    multicolumn_condition_partial,
)
from numpy.typing import NDArray

# In the order in which the metric takes them.
COLUMNS = ("subject", "label", "x", "y", "right", "bottom")


def suppressible(
    images: NDArray[np.int64], labels: NDArray[np.int64], boxes: NDArray[np.float32], threshold: float, most: int
) -> NDArray[np.bool_]:
    """Boxes (N, 4) xyxy of images (N,) with labels (N,) -> (N,), True where one of the `most` - 1 boxes before it of
    the same image and label overlaps it by more than `threshold` (IoU).

    Computed in single precision with the same comparison as `detector.runtime.geometry.nms`, so that no box which that
    function kept is found here.
    """
    order = np.lexsort((labels, images))  # stable: within a group the best score stays first
    found = np.zeros(len(order), np.bool_)
    if not len(order):
        return found
    images, labels, boxes = images[order], labels[order], boxes[order]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    # Each box is held against the next of its group, then against the one after it, while any group is that long.
    left = np.arange(len(order) - 1)
    step = 1
    while len(left) and step < most:  # an image with more boxes breaks another rule; all pairs would take hours
        right = left + step
        same = (images[left] == images[right]) & (labels[left] == labels[right])
        left, right = left[same], right[same]
        low = np.maximum(boxes[left, :2], boxes[right, :2])
        size = np.maximum(np.minimum(boxes[left, 2:], boxes[right, 2:]) - low, np.float32(0))
        overlap = size[:, 0] * size[:, 1]
        union = areas[left] + areas[right] - overlap
        found[order[right[overlap.astype(np.float64) > threshold * union.astype(np.float64)]]] = True
        step += 1
        left = left[left + step < len(order)]
    return found


class _NotSuppressible(MulticolumnMapMetricProvider):  # type: ignore[misc]
    """The metric behind the expectation, by row."""

    condition_metric_name = "boxcar.not_suppressible"
    condition_domain_keys = (
        "batch_id", "table", "column_list", "row_condition", "condition_parser", "ignore_row_if",
    )  # fmt: skip
    condition_value_keys = ("threshold", "most")

    @multicolumn_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls: Any, column_list: pd.DataFrame, threshold: float, most: int, **_: Any) -> pd.Series[bool]:
        image, label, *edges = COLUMNS
        labels = pd.factorize(column_list[label])[0].astype(np.int64)
        boxes = column_list[edges].to_numpy(np.float32)
        found = suppressible(column_list[image].to_numpy(np.int64), labels, boxes, threshold, most)
        return pd.Series(~found, index=column_list.index)


class ExpectBoxesOfOneLabelNotToOverlap(MulticolumnMapExpectation):  # type: ignore[misc]
    """No box overlaps a better one of its label in its image by more than `threshold` (IoU).

    Rows are boxes, the best first within an image, which has at most `most`; `column_list` is `COLUMNS`.
    """

    threshold: float
    most: int
    ignore_row_if: Literal["never"] = "never"
    map_metric: ClassVar[str] = "boxcar.not_suppressible"
    success_keys: ClassVar[tuple[str, ...]] = ("mostly", "threshold", "most")
