"""Runs a detector on one image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.runtime.detector import Detector, Image, open_detector
from detector.runtime.postprocess import Detections


def detect(detector: Detector | Path, pixels: NDArray[np.uint8], min_score: float | None = None) -> Detections:
    """The detections in one image, uint8 RGB (H, W, 3), by an opened detector or by the artifact in a folder."""
    opened = open_detector(detector) if isinstance(detector, Path) else detector
    (found,) = opened.detect([Image.whole(pixels)], min_score=min_score).detections
    return found


def same(a: Detections, b: Detections) -> bool:
    """Whether two images have equal detections, number by number."""
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("boxes", "scores", "labels"))
