"""Threads share calls of a detector that takes batches."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest

from detector.common.errors import ArtifactError
from detector.runtime.detector import Batch, Image
from detector.runtime.postprocess import Detections
from jobs.batcher import Batcher


def image(number: int) -> Image:
    return Image.whole(np.full((1, 1, 3), number, np.uint8))


@dataclass
class Numbers:
    """A detector that finds the number of each image as its score. Its first call waits until `start` is set."""

    batch: int
    start: threading.Event = field(default_factory=threading.Event)
    calls: list[list[int]] = field(default_factory=list)
    refused: frozenset[int] = frozenset()

    def detect(self, images: Sequence[Image], *, min_score: float | None = None) -> Batch:
        numbers = [int(one.pixels[0, 0, 0]) for one in images]
        self.calls.append(numbers)
        assert min_score == 0.25 and self.start.wait(60)
        if self.refused & set(numbers):
            raise ArtifactError("no")
        none = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
        found = [Detections(none[0], np.array([float(number)]), none[1]) for number in numbers]
        return Batch(found, {"network": 1.0})


def ask_together(detector: Numbers, count: int) -> list[float | str]:
    """What each of `count` threads gets. They all ask while the first call is under way."""
    batcher = Batcher(detector, 0.25)

    def ask(number: int) -> float | str:
        try:
            found, seconds = batcher.detect(image(number))
        except ArtifactError:
            return "failed"
        assert 0 < seconds["network"] <= 1
        return float(found.scores[0])

    with ThreadPoolExecutor(count) as pool:
        first = pool.submit(ask, 0)
        while not detector.calls:
            pass
        others = [pool.submit(ask, number) for number in range(1, count)]
        while len(batcher._waiting) < count - 1:
            pass
        detector.start.set()
        return [future.result(60) for future in (first, *others)]


def test_images_that_wait_together_share_a_call_and_each_gets_its_own() -> None:
    detector = Numbers(batch=4)
    assert ask_together(detector, 11) == [float(number) for number in range(11)]
    assert [len(call) for call in detector.calls] == [1, 4, 4, 2]
    assert sorted(number for call in detector.calls for number in call) == list(range(11))


def test_an_image_that_fails_does_not_fail_the_others() -> None:
    detector = Numbers(batch=8, refused=frozenset({3, 5}))
    expected = ["failed" if number in (3, 5) else float(number) for number in range(7)]
    assert ask_together(detector, 7) == expected


def test_threads_of_a_detector_of_single_images_do_not_wait_for_each_other() -> None:
    detector, met = Numbers(batch=1), threading.Barrier(2)
    detector.start.set()
    batcher = Batcher(detector, 0.25)
    detect = detector.detect

    def both(images: Sequence[Image], *, min_score: float | None = None) -> Batch:
        met.wait(60)
        return detect(images, min_score=min_score)

    detector.detect = both  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        assert [found.scores[0] for found, _ in pool.map(batcher.detect, map(image, (1, 2)))] == [1, 2]


def test_a_mistake_in_the_detector_reaches_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Numbers(batch=2)
    monkeypatch.setattr(detector, "detect", lambda images, min_score: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Batcher(detector, 0.25).detect(image(1))
