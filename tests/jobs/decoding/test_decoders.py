"""What the job does with children that end, lie or cannot start."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from detector.common.errors import ImageError
from detector.runtime.images import MAX_PIXELS
from detector.runtime.reading import Reading
from jobs.budget import Budget
from jobs.decoding.channel import Channel
from jobs.decoding.decoders import DecoderEnded, Decoders
from jobs.errors import StorageError
from tests.jobs.helpers import Boxcar, encoded, write_photos
from tests.support.faults.planted import marked, plant


def _whole(height: int, width: int) -> Reading:
    return Reading(height, width, None)


@pytest.fixture
def decoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoders]:
    monkeypatch.syspath_prepend(plant(tmp_path / "hook"))
    decoders = Decoders(Budget(MAX_PIXELS), 2)
    yield decoders
    decoders.close()


def _read(decoders: Decoders, data: bytes) -> tuple[int, int]:
    with decoders.read("a.jpg", data, _whole) as (image, _):
        assert image.pixels.shape == (image.height, image.width, 3)
        return image.height, image.width


def test_a_child_serves_until_an_image_ends_it(decoders: Decoders) -> None:
    jpeg = encoded(1, 50, 40, "JPEG")
    assert _read(decoders, jpeg) == (40, 50)
    (first,) = decoders._idle
    with pytest.raises(ImageError):
        _read(decoders, b"no image")
    assert list(decoders._idle) == [first]
    with pytest.raises(DecoderEnded, match="crashes \\(Segmentation fault\\), also in a second try"):
        _read(decoders, marked(jpeg, "pixels", "crash"))
    assert list(decoders._idle) == []
    assert _read(decoders, jpeg) == (40, 50)
    assert decoders._idle[0].number != first.number
    before = decoders.cpu_seconds()
    assert 0 < first.cpu_seconds < before
    with pytest.raises(DecoderEnded, match="more CPU time"):
        _read(decoders, marked(jpeg, "header", "loop"))
    assert decoders.cpu_seconds() - before > 0.5  # two tries of 0.3 seconds, in children that never answered


def test_a_second_try_heals_and_is_alone(decoders: Decoders) -> None:
    """Also the memory is its own: it holds all pixels that images may have together."""
    held: list[int] = []

    class Watched(Budget):
        def hold(self, units: int) -> Any:
            held.append(units)
            return super().hold(units)

    decoders._pixels = Watched(MAX_PIXELS)
    assert _read(decoders, marked(encoded(1, 50, 40, "JPEG"), "pixels", "once-crash")) == (40, 50)
    assert held == [40 * 50, MAX_PIXELS]


def test_no_more_children_than_are_allowed(decoders: Decoders) -> None:
    """Also when many threads ask, as they do for the batches of a GPU."""
    jpeg = encoded(1, 500, 400, "JPEG")
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: _read(decoders, jpeg), range(40))) == {(400, 500)}
    assert 1 <= len(decoders._idle) <= 2


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"cpu": "x"},
        {"cpu": float("nan"), "frame": [4, 4]},
        {"cpu": 1, "frame": [0, 4]},
        {"cpu": 1, "frame": [10**6, 10**6]},
        {"cpu": 1, "frame": "ab"},
        {"cpu": 1, "error": {"status": "ok", "text": "", "kind": None}},
        {"cpu": 1, "error": 1},
        {"cpu": 1, "text": "x" * 5000},
    ],
)
def test_an_answer_without_sense(decoders: Decoders, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> None:
    """An image that has taken its decoder over gets a record, and cannot end the job."""
    receive = Channel.receive

    def lies(self: Channel) -> tuple[dict[str, Any], int]:
        receive(self)
        monkeypatch.setattr(Channel, "receive", receive)
        return receive(_channel_with(answer))

    monkeypatch.setattr(Channel, "receive", lies)
    assert _read(decoders, encoded(1, 50, 40, "JPEG")) == (40, 50)  # by the second child, which does not lie


def _channel_with(answer: dict[str, Any]) -> Channel:
    ours, theirs = socket.socketpair()
    Channel(ours).send(answer)
    return Channel(theirs)


@pytest.mark.parametrize("program", ["/nowhere", "/bin/false"])
def test_children_that_cannot_start(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """No image is to blame: no record is written."""
    photos = write_photos(tmp_path / "photos", 2)
    boxcar("plan", photos, tmp_path / "run", "--model", artifact)
    monkeypatch.setattr(sys, "executable", program)
    said = boxcar("work", tmp_path / "run", code=5).stderr
    assert "no process can be started that decodes images" in said
    assert not (tmp_path / "run/boxes").exists()


def test_a_server_that_is_gone(decoders: Decoders) -> None:
    """Children that are there go on; a new one is an error of the machine, not of an image."""
    jpeg = encoded(1, 50, 40, "JPEG")
    _read(decoders, jpeg)
    decoders._server._process.kill()
    decoders._server._process.wait()
    assert _read(decoders, jpeg) == (40, 50)
    with pytest.raises(StorageError, match="it ended with status -9"):
        _read(decoders, marked(jpeg, "pixels", "crash"))


@pytest.mark.parametrize("quality", [None, {}, {"sharpness": 1}, [1], "x"])
def test_a_child_that_answers_without_a_quality_is_ended(monkeypatch: pytest.MonkeyPatch, quality: object) -> None:
    """What a child answers is checked: here each says something else than numbers and a hash."""
    decoders = Decoders(Budget(MAX_PIXELS), 1)
    answered = Decoders._answer

    def answer(self: Decoders, child: Any) -> dict[str, Any]:
        found = answered(self, child)
        return found | {"quality": quality} if "quality" in found else found

    monkeypatch.setattr(Decoders, "_answer", answer)
    try:
        with pytest.raises(DecoderEnded), decoders.read("x.png", encoded(1), lambda *size: Reading(*size, None)):
            pass
    finally:
        decoders.close()
