"""Makes the rows of the precision-recall plot, and a grid of images with detections and truths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.common.drawing import TRUTH_COLOUR, draw_boxes, draw_found
from detector.data.annotations import ImageInfo
from detector.evaluation.average_precision import ClassResult
from detector.runtime.postprocess import Detections

# With more points a plot looks the same, and its file opens slowly.
CURVE_POINTS = 200


class CurvePoint(TypedDict):
    """One row of the precision-recall plot."""

    label: str
    recall: float
    precision: float


def precision_recall_rows(results: Sequence[ClassResult], points: int = CURVE_POINTS) -> list[CurvePoint]:
    """Return the rows of each class's curve: at most `points`, spread evenly over its recall, with its first and last.

    A class without truths or without detections has no rows.
    """
    rows: list[CurvePoint] = []
    for result in results:
        count = len(result.scores)
        if not result.truths or not count:
            continue
        # The first row of each step of recall, because half of the detections may share its last few hundredths.
        steps = np.linspace(0.0, result.recall[-1], points - 1)
        for i in np.unique(np.append(np.searchsorted(result.recall, steps), count - 1)):
            rows.append(
                {
                    "label": result.name,
                    "recall": round(float(result.recall[i]), 5),
                    "precision": round(float(result.precision[i]), 5),
                }
            )
    return rows


@dataclass(frozen=True)
class Example:
    """One image of the grid: pixels uint8 RGB (H, W, 3), its truths and its detections."""

    pixels: NDArray[np.uint8]
    truth: ImageInfo
    found: Detections


def draw_grid(
    examples: Sequence[Example], classes: Sequence[str], columns: int = 4, cell: int = 360, gap: int = 8
) -> Image.Image:
    """Return a grid of images, each fitted into `cell` pixels, truths in white and detections in their class's colour.

    Truths that are ignored are marked "(ignored)".
    """
    if not examples:
        raise ValueError("a grid needs at least one example")
    columns = min(columns, len(examples))
    rows = -(-len(examples) // columns)
    step = cell + gap
    grid = Image.new("RGB", (columns * step + gap, rows * step + gap), "#202020")
    for number, example in enumerate(examples):
        height, width = example.pixels.shape[:2]
        factor = cell / max(height, width)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        image = Image.fromarray(example.pixels).convert("RGB").resize(size, Image.Resampling.BILINEAR)
        scale = np.array([size[0] / width, size[1] / height] * 2, np.float32)
        truth, found = example.truth, example.found
        draw_boxes(
            image,
            truth.boxes * scale,
            [
                classes[label] + (" (ignored)" if ignored else "")
                for label, ignored in zip(truth.labels, truth.ignore | truth.crowd, strict=True)
            ],
            [TRUTH_COLOUR] * len(truth.boxes),
            below=True,
        )
        draw_found(image, found.boxes * scale, found.labels, found.scores, classes)
        row, column = divmod(number, columns)
        grid.paste(image, (gap + column * step + (cell - size[0]) // 2, gap + row * step + (cell - size[1]) // 2))
    return grid
