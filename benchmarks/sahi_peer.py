"""SAHI around a detector of ours: its slices and its merging, with our session (pip install sahi)."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sahi.models.base import DetectionModel  # type: ignore[import-not-found]
from sahi.predict import get_sliced_prediction  # type: ignore[import-not-found]
from sahi.prediction import ObjectPrediction  # type: ignore[import-not-found]

from detector.runtime.detector import Detector, Image
from detector.runtime.postprocess import Detections

logging.getLogger("sahi").setLevel(logging.ERROR)  # it warns for each image that it changes its merging


class _Model(DetectionModel):  # type: ignore[misc]
    """What SAHI asks of a model."""

    def set_device(self, device: str | None = None) -> None:
        self.device = device  # the session has chosen; SAHI would ask torch

    def set_model(self, model: Detector, **_: Any) -> None:
        self.model = model

    def perform_inference(self, image: NDArray[np.uint8]) -> None:
        pixels = np.ascontiguousarray(image)
        (self._original_predictions,) = self.model.detect(
            [Image.whole(pixels)], min_score=self.confidence_threshold
        ).detections

    def _create_object_prediction_list_from_original_predictions(
        self, shift_amount_list: Any = None, full_shape_list: Any = None
    ) -> None:
        # SAHI gives a list for each image of a batch, or the only one by itself.
        shift, shape = (v[0] if v and isinstance(v[0], list) else v for v in (shift_amount_list, full_shape_list))
        found = self._original_predictions
        self._object_prediction_list_per_image = [
            [
                ObjectPrediction(
                    bbox=box, category_id=label, category_name=self.model.classes[label], score=score,
                    shift_amount=shift, full_shape=shape,
                )
                for box, label, score in zip(
                    found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True
                )
            ]
        ]  # fmt: skip


class Sahi:
    """Detects in slices by SAHI; `merge` is its `postprocess_type`, which it changes itself at low scores."""

    def __init__(self, detector: Detector, side: int, overlap: float, least_score: float, merge: str | None) -> None:
        self._model = _Model(model=detector, confidence_threshold=least_score)
        self._options = {
            "slice_height": side, "slice_width": side, "overlap_height_ratio": overlap, "overlap_width_ratio": overlap,
            "verbose": 0,
        } | ({"postprocess_type": merge, "force_postprocess_type": True} if merge else {})  # fmt: skip

    def detect(self, pixels: NDArray[np.uint8]) -> Detections:
        """Return the detections in an image, uint8 RGB (H, W, 3)."""
        found = get_sliced_prediction(pixels, self._model, **self._options).object_prediction_list
        found.sort(key=lambda one: -one.score.value)
        return Detections(
            np.array([one.bbox.to_xyxy() for one in found], np.float32).reshape(-1, 4),
            np.array([one.score.value for one in found], np.float64),
            np.array([one.category.id for one in found], np.int64),
        )
