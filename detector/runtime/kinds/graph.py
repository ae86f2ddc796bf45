"""What all kinds share: from an image to the graph's input, through the graph, and from its outputs to detections."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detector.common.errors import ArtifactError
from detector.runtime.detector import Batch, Image
from detector.runtime.postprocess import Detections, postprocess
from detector.runtime.preprocess import Prepared, prepare, resized_size
from detector.runtime.session import Array, Session

if TYPE_CHECKING:
    from detector.runtime.artifact import Artifact


@dataclass(frozen=True)
class Candidates:
    """What a graph says of one image, before suppression. scores: float32 (N, C), probabilities before calibration;
    boxes: float32 (N, C, 4), or (N, 1, 4) where all classes share a box, xyxy in pixels of the graph's input."""

    scores: Array
    boxes: Array


@dataclass
class Clock:
    """Adds up the wall time of named steps, in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of this block to a step."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class GraphDetector:
    """A detector whose graph takes one image. A kind says how its outputs are read, in `decode`."""

    def __init__(self, artifact: Artifact, decoding: Any, session: Session) -> None:
        """decoding: the settings of the kind. Raises ArtifactError if the graph is not of this kind."""
        self.artifact = artifact
        self.decoding = decoding
        self.session = session
        self._columns = artifact.columns()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels."""
        return self.artifact.classes

    def decode_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the least (height, width) at which an image of this size is worth decoding."""
        return resized_size(self.artifact.preprocessing, height, width)

    def detect(self, images: Sequence[Image], *, min_score: float | None = None) -> Batch:
        """See Detector."""
        clock = Clock()
        least = self.artifact.operating_score if min_score is None else min_score
        return Batch([self._detect(image, least, clock) for image in images], clock.seconds)

    def _detect(self, image: Image, min_score: float, clock: Clock) -> Detections:
        artifact = self.artifact
        with clock.step("preprocess"):
            prepared = prepare(artifact.preprocessing, image.pixels, image.height, image.width)
        found = self.forward(image, prepared, clock)
        if found.scores.shape[1] != self.outputs_of_graph:
            raise ArtifactError(
                f"model.onnx: scores {found.scores.shape[1]} classes, and model.json names {self.outputs_of_graph}"
            )
        with clock.step("postprocess"):
            return postprocess(
                found.scores,
                found.boxes,
                scale=prepared.scale,
                offset=prepared.offset,
                height=image.height,
                width=image.width,
                min_score=min_score,
                nms_threshold=artifact.most_overlap,
                max_detections=artifact.max_detections,
                calibration=artifact.calibration.line,
                columns=self._columns,
            )

    def forward(self, image: Image, prepared: Prepared, clock: Clock) -> Candidates:
        """Run the graph on one image."""
        with clock.step("network"):
            # Some graphs take one image without the axis of the batch.
            tensor = prepared.tensor if len(self.session.shapes[0]) == 4 else prepared.tensor[0]
            outputs = self.session.run({self.session.inputs[0]: tensor})
        with clock.step("postprocess"):
            return self.decode(outputs, prepared.tensor.shape[2:])

    def decode(self, outputs: Mapping[str, NDArray[Any]], size: tuple[int, ...]) -> Candidates:
        """Return what the graph's outputs say; size: (height, width) of its input."""
        raise NotImplementedError

    @property
    def outputs_of_graph(self) -> int:
        """The number of classes that the graph scores."""
        return self._columns.count if self._columns else len(self.artifact.classes)

    def single(self, outputs: Mapping[str, NDArray[Any]], axes: int) -> NDArray[Any]:
        """Return the graph's first output with this number of axes, the first of which is 1; raises ArtifactError."""
        for value in outputs.values():
            if value.ndim == axes and len(value) == 1:
                return value
        shapes = ", ".join("x".join(map(str, value.shape)) for value in outputs.values())
        raise ArtifactError(f"model.onnx: none of its outputs ({shapes}) is what `{self.decoding.kind}` reads")

    def require_rows(self, found: int, expected: int) -> None:
        """Raise ArtifactError if the graph does not give one row for each cell."""
        if found != expected:
            raise ArtifactError(
                f"model.onnx: gives {found} rows, and the strides in model.json make {expected} cells; correct the "
                "input's size or the strides"
            )

    def labelled(self, boxes: Array, scores: Array, labels: NDArray[np.int64]) -> Candidates:
        """Return candidates of a graph that gives one label for each box; labels outside the classes are dropped.

        boxes: (N, 4) xyxy; scores, labels: (N,).
        """
        known = (labels >= 0) & (labels < self.outputs_of_graph)
        rows = np.zeros((int(known.sum()), self.outputs_of_graph), np.float32)
        rows[np.arange(len(rows)), labels[known]] = scores[known]
        return Candidates(rows, boxes[known].astype(np.float32)[:, None])
