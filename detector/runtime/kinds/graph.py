"""What all kinds share: from an image to the graph's input, through the graph, and from its outputs to detections."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
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
from detector.runtime.reading import Reading
from detector.runtime.scores import ABSENT
from detector.runtime.session import Array, Session

if TYPE_CHECKING:
    from detector.runtime.artifact import Artifact

# Half of the last decimal of a score: a graph's probabilities may be this much above 1.
_ROUNDING = 0.5e-4


@dataclass(frozen=True)
class Candidates:
    """What a graph says of one image, before suppression.

    scores: float32 (N, C), probabilities before calibration, or ABSENT; boxes: float32 (N, C, 4), or (N, 1, 4) where
    all classes share a box, xyxy in pixels of the graph's input. An edge may be infinite: it is clipped to the image.
    """

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


class GraphDetector(ABC):
    """A detector whose graph takes one image or a batch. A kind says how its outputs are read, in `decode`."""

    def __init__(self, artifact: Artifact, decoding: Any, session: Session) -> None:
        """decoding: the settings of the kind. Raises ArtifactError if the graph is not of this kind."""
        self.artifact = artifact
        self.decoding = decoding
        self.session = session
        self._columns = artifact.columns()
        self.device = session.device
        self.batch = session.batch
        self._has_batch_axis = len(session.shapes[0]) != 3  # some graphs take one image without it
        normalised = artifact.preprocessing.mean, artifact.preprocessing.std
        if session.whole_numbers and normalised != ((0.0,) * 3, (1.0,) * 3):
            raise ArtifactError(
                "model.onnx: its input is uint8, and model.json normalises it, which would leave nothing of the "
                "image; set mean to 0 and std to 1 in `preprocessing`"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels."""
        return self.artifact.classes

    def reading(self, height: int, width: int) -> Reading:
        """See Detector."""
        settings = self.artifact.preprocessing
        method = None if settings.resize == "none" else settings.interpolation
        return Reading(*resized_size(settings, height, width), method)

    def detect(self, images: Sequence[Image], *, min_score: float | None = None) -> Batch:
        """See Detector."""
        clock = Clock()
        least = self.artifact.operating_score if min_score is None else min_score
        found: list[Detections] = []
        for start in range(0, len(images), self.batch):
            found.extend(self._detect(images[start : start + self.batch], least, clock))
        return Batch(found, clock.seconds)

    def _detect(self, images: Sequence[Image], min_score: float, clock: Clock) -> Iterator[Detections]:
        """Detect in at most `batch` images. Those of one input size go through the graph together."""
        settings = self.artifact.preprocessing
        with clock.step("preprocess"):
            prepared = [prepare(settings, image.pixels, image.height, image.width) for image in images]
        candidates: dict[int, Candidates] = {}
        for shape in dict.fromkeys(one.tensor.shape for one in prepared):
            alike = [place for place, one in enumerate(prepared) if one.tensor.shape == shape]
            found = self.forward([images[place] for place in alike], [prepared[place] for place in alike], clock)
            candidates.update(zip(alike, found, strict=True))
        for place, (image, own) in enumerate(zip(images, prepared, strict=True)):
            self._check(candidates[place])
            yield self._choose(candidates[place], image, own, min_score, clock)

    def _choose(
        self, found: Candidates, image: Image, prepared: Prepared, min_score: float, clock: Clock
    ) -> Detections:
        artifact = self.artifact
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

    def forward(self, images: Sequence[Image], prepared: Sequence[Prepared], clock: Clock) -> list[Candidates]:
        """Run the graph on images whose inputs have one size."""
        with clock.step("network"):
            tensor = prepared[0].tensor if len(prepared) == 1 else np.concatenate([one.tensor for one in prepared])
            outputs = self.session.run({self.session.inputs[0]: tensor if self._has_batch_axis else tensor[0]})
        with clock.step("postprocess"):
            try:
                with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is checked afterwards
                    return [self.decode(own, tensor.shape[2:]) for own in self._of_each(outputs, len(prepared))]
            except (IndexError, ValueError) as error:  # NumPy's, where an axis is missing or has another length
                raise self._other_outputs(outputs) from error

    def _of_each(self, outputs: dict[str, NDArray[Any]], images: int) -> list[dict[str, NDArray[Any]]]:
        """Return the outputs of each image, as the graph gives them for one."""
        if images == 1:
            return [outputs]
        if any(len(value) != images for value in outputs.values()):
            raise self._other_outputs(outputs)
        return [{name: value[place : place + 1] for name, value in outputs.items()} for place in range(images)]

    @abstractmethod
    def decode(self, outputs: Mapping[str, NDArray[Any]], size: tuple[int, ...]) -> Candidates:
        """Return what the graph's outputs say of one image; size: (height, width) of its input."""

    def _check(self, found: Candidates) -> None:
        """Raise ArtifactError unless shapes agree and scores are probabilities: nothing else could be trusted."""
        count, *classes = found.scores.shape
        if classes != [self.outputs_of_graph]:
            raise ArtifactError(
                f"model.onnx: scores {'x'.join(map(str, classes))} classes, and model.json names "
                f"{self.outputs_of_graph}; correct the classes, or the kind and its settings in `decoding`"
            )
        if found.boxes.shape not in ((count, 1, 4), (count, *classes, 4)):
            raise ArtifactError(
                f"model.onnx: gives scores of {count} boxes, and boxes of shape {found.boxes.shape}; correct the kind "
                "or its settings in `decoding`"
            )
        scores = found.scores
        if scores.min(initial=0) == ABSENT:
            scores = scores[scores != ABSENT]
        least, most = scores.min(initial=0), scores.max(initial=0)
        if not 0 <= least <= most <= 1 + _ROUNDING:  # nor is NaN
            raise ArtifactError(
                f"model.onnx: gives scores from {least:g} to {most:g}, and probabilities are from 0 to 1; if other "
                "images do the same, correct the kind or its settings in `decoding`, or the normalisation"
            )

    @property
    def outputs_of_graph(self) -> int:
        """The number of classes that the graph scores."""
        return self._columns.count if self._columns else len(self.artifact.classes)

    def single(self, outputs: Mapping[str, NDArray[Any]], axes: int) -> NDArray[Any]:
        """Return the graph's first output that has this number of axes for one image; raises ArtifactError."""
        for value in outputs.values():
            if value.ndim == axes + 1 and len(value) == 1:
                return value[0]
            if value.ndim == axes and not self._has_batch_axis:
                return value
        raise self._other_outputs(outputs)

    def _other_outputs(self, outputs: Mapping[str, NDArray[Any]]) -> ArtifactError:
        shapes = ", ".join("x".join(map(str, value.shape)) for value in outputs.values())
        return ArtifactError(
            f"model.onnx: its outputs ({shapes}) are not what `{self.decoding.kind}` reads; correct the kind or its "
            "settings in `decoding`"
        )

    def require_rows(self, found: int, expected: int) -> None:
        """Raise ArtifactError if the graph does not give one row for each cell."""
        if found != expected:
            raise ArtifactError(
                f"model.onnx: gives {found} rows, and the strides in model.json make {expected} cells; correct the "
                "input's size or the strides"
            )

    def labelled(self, boxes: Array, scores: Array, labels: NDArray[Any]) -> Candidates:
        """Return candidates of a graph that gives one label for each box; a label below 0 fills up a row of no box.

        boxes: (N, 4) xyxy; scores: (N,); labels: (N,), whole numbers of any dtype. Raises ArtifactError if a label is
        not one of the classes.
        """
        if len(labels) and not labels.max() < self.outputs_of_graph:  # nor is NaN
            raise ArtifactError(
                f"model.onnx: gives label {labels.max():g}, and model.json names {self.outputs_of_graph} classes, "
                "from 0; correct the classes"
            )
        known = labels >= 0
        rows = np.full((int(known.sum()), self.outputs_of_graph), ABSENT)
        rows[np.arange(len(rows)), labels[known].astype(np.int64)] = scores[known]
        return Candidates(rows, boxes[known].astype(np.float32)[:, None])
