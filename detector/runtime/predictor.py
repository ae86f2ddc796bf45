"""Runs an artifact with ONNX Runtime, without torch; the batch job uses a model only through this module."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from detector.common.errors import ArtifactError
from detector.runtime.artifact import MODEL_FILE, Artifact, ProposalSettings, load_artifact
from detector.runtime.geometry.boxes import Boxes
from detector.runtime.images import normalise, resize
from detector.runtime.postprocess import Detections, postprocess


@dataclass(frozen=True)
class Seconds:
    """The wall time of one image's steps."""

    proposals: float
    network: float
    postprocess: float


def _proposer(settings: ProposalSettings | None) -> Callable[[NDArray[np.uint8]], Boxes] | None:
    """Return the function that makes an artifact's proposals from pixels, or None if its graph makes its own.

    Raises ArtifactError if the extra that it needs is not installed.
    """
    if settings is None:
        return None
    try:
        from detector.proposals import find_proposals  # its compiled code takes a second to load
    except ModuleNotFoundError as error:
        raise ArtifactError(
            f"this artifact needs {settings.method.replace('_', ' ')}, and {error.name} is not installed; install the "
            "extra: pip install '.[proposals]' in the project's folder, or take an artifact of faster_rcnn"
        ) from error

    return partial(find_proposals, method=settings.method, max_boxes=settings.max_boxes, mode=settings.mode)


class Predictor:
    """A loaded artifact. Several threads may call `predict` at once; the number of threads changes no result."""

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        """Load the artifact in `folder`; a call of the network uses `threads` threads. Raises ArtifactError."""
        self.artifact: Artifact = load_artifact(folder)
        self._propose = _proposer(self.artifact.proposals)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3  # errors only; its warnings are about graph optimisations
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

    def _run(
        self, image: NDArray[np.float32], proposals: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return scores (N, C) and boxes (N, C, 4), from as many calls as the artifact's batch needs.

        image: (1, 3, H, W); proposals: (N, 4). Raises ArtifactError.
        """
        try:
            return self._call(image, proposals)
        except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
            raise ArtifactError(
                f"{MODEL_FILE}: the network fails on an image of {image.shape[3]}x{image.shape[2]} pixels: {error}"
            ) from error

    def _call(
        self, image: NDArray[np.float32], proposals: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        outputs = ["scores", "boxes"]
        if self.artifact.proposals is None or proposals is None:
            scores, boxes = self._session.run(outputs, {"image": image})
            return scores, boxes
        batch = self.artifact.proposals.batch or max(1, len(proposals))
        parts = [
            self._session.run(outputs, {"image": image, "proposals": proposals[start : start + batch]})
            for start in range(0, max(1, len(proposals)), batch)
        ]
        return np.concatenate([scores for scores, _ in parts]), np.concatenate([boxes for _, boxes in parts])

    def predict(self, pixels: NDArray[np.uint8], *, min_score: float | None = None) -> Detections:
        """Return the detections in one image, uint8 RGB (H, W, 3); min_score: by default the operating score.

        Raises ArtifactError if the network fails.
        """
        return self.predict_timed(pixels, min_score=min_score)[0]

    def predict_timed(self, pixels: NDArray[np.uint8], *, min_score: float | None = None) -> tuple[Detections, Seconds]:
        """Return the detections as `predict` does, and the wall time of each step."""
        artifact = self.artifact
        height, width = pixels.shape[:2]
        start = time.perf_counter()
        resized = resize(pixels, artifact.image_size)
        proposals = None
        if self._propose:
            scale = np.array([resized.scale_x, resized.scale_y] * 2, np.float32)
            proposals = self._propose(pixels) * scale
        proposed = time.perf_counter()
        scores, boxes = self._run(normalise(resized.pixels)[None], proposals)
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
            calibration=(artifact.calibration.slope, artifact.calibration.offset),
        )
        return detections, Seconds(proposed - start, ran - proposed, time.perf_counter() - ran)
