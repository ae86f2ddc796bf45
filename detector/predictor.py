"""Artifact -> detections, with ONNX Runtime and without torch: the batch job's only way to a model."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from detector.artifact import MODEL_FILE, Artifact, load_artifact
from detector.data.preprocess import decode_image, normalise, resize
from detector.errors import ArtifactError
from detector.postprocess import Detections, postprocess
from detector.proposals import selective_search

__all__ = ["Detections", "Predictor", "Seconds", "decode_image"]


@dataclass(frozen=True)
class Seconds:
    """Wall time of one image's steps."""

    proposals: float
    network: float
    postprocess: float


class Predictor:
    """One loaded artifact. `predict` may be called from several threads at once; the numbers are the same for every
    thread count."""

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        """folder: an artifact; threads: of one network call. Raises ArtifactError."""
        self.artifact: Artifact = load_artifact(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3  # errors only: its warnings speak of graph optimisations
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / MODEL_FILE), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
            raise ArtifactError(f"{folder / MODEL_FILE}: ONNX Runtime cannot load it: {error}") from error
        inputs = {item.name for item in self._session.get_inputs()}
        wanted = {"image"} | ({"proposals"} if self.artifact.proposals else set())
        if inputs != wanted:
            raise ArtifactError(f"{folder / MODEL_FILE}: its inputs are {sorted(inputs)}, not {sorted(wanted)}")
        outputs = {item.name for item in self._session.get_outputs()}
        if outputs != {"scores", "boxes"}:
            raise ArtifactError(f"{folder / MODEL_FILE}: its outputs are {sorted(outputs)}, not ['boxes', 'scores']")

    def predict(self, pixels: NDArray[np.uint8], *, min_score: float | None = None) -> Detections:
        """Detections in one picture, uint8 RGB (H, W, 3); min_score: the artifact's operating score unless given."""
        return self.predict_timed(pixels, min_score=min_score)[0]

    def predict_timed(self, pixels: NDArray[np.uint8], *, min_score: float | None = None) -> tuple[Detections, Seconds]:
        """As `predict`, with the wall time of each step."""
        artifact = self.artifact
        height, width = pixels.shape[:2]
        start = time.perf_counter()
        feed: dict[str, NDArray[np.float32]] = {}
        resized = resize(pixels, artifact.image_size)
        if artifact.proposals:
            search = artifact.proposals
            scale = np.array([resized.scale_x, resized.scale_y] * 2, np.float32)
            feed["proposals"] = selective_search(pixels, search.max_boxes, search.mode) * scale
        proposed = time.perf_counter()
        feed["image"] = normalise(resized.pixels)[None]
        scores, boxes = self._session.run(["scores", "boxes"], feed)
        ran = time.perf_counter()
        detections = postprocess(
            scores,
            boxes,
            scale=(resized.scale_x, resized.scale_y),
            height=height,
            width=width,
            min_score=artifact.operating_score if min_score is None else min_score,
            nms_threshold=artifact.nms_threshold,
            max_detections=artifact.max_detections,
        )
        return detections, Seconds(proposed - start, ran - proposed, time.perf_counter() - ran)
