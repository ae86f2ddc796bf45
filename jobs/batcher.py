"""Lets several threads share calls of a detector, because a GPU is quick only with several images in a call."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from detector.runtime.detector import Detector, Image
from detector.runtime.postprocess import Detections

_NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0), np.zeros(0, np.int64))


@dataclass
class _Asked:
    """An image that a thread waits for."""

    image: Image
    found: Detections = _NOTHING
    seconds: Mapping[str, float] = field(default_factory=dict)
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.error is not None or self.found is not _NOTHING


class Batcher:
    """Calls a detector for several threads, with as many images as it takes at once.

    No thread waits for images that may come: the first one starts, and those that come meanwhile are the next batch.
    With a detector of single images, every thread calls it by itself.
    """

    def __init__(self, detector: Detector, min_score: float) -> None:
        """min_score: the least score of a detection."""
        self._detector = detector
        self._min_score = min_score
        self._waiting: deque[_Asked] = deque()
        self._turn = threading.Lock()

    def detect(self, image: Image) -> tuple[Detections, Mapping[str, float]]:
        """The detections in an image, and its share of each step's wall time in seconds; raises what `detect`
        raises for it."""
        if self._detector.batch == 1:
            batch = self._detector.detect([image], min_score=self._min_score)
            return batch.detections[0], batch.seconds
        asked = _Asked(image)
        self._waiting.append(asked)
        with self._turn:
            while not asked.is_done:
                self._run([self._waiting.popleft() for _ in range(min(len(self._waiting), self._detector.batch))])
        if asked.error is not None:
            raise asked.error
        return asked.found, asked.seconds

    def _run(self, asked: list[_Asked]) -> None:
        """Detect in these images; if they fail together, in each alone, so that the error is of the right one."""
        try:
            batch = self._detector.detect([one.image for one in asked], min_score=self._min_score)
            found = dict(zip(map(id, asked), batch.detections, strict=True))
        except Exception as error:  # noqa: BLE001 - it is raised in the thread that waits for this image
            if len(asked) == 1:
                asked[0].error = error
            else:
                for one in asked:
                    self._run([one])
            return
        for one in asked:
            one.found = found[id(one)]
            one.seconds = {step: spent / len(asked) for step, spent in batch.seconds.items()}
