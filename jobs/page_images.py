"""Reads images of a run's INPUT again, for pages that show them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from detector.common.errors import ImageError
from detector.runtime.images import Pixels, frame_size
from detector.runtime.reading import Reading, decoded_pixels, read_image
from jobs.budget import Budget
from jobs.errors import ItemError, JobError
from jobs.formats import ERRORS, PlannedImage, Record
from jobs.storage import Store

# Requests at the same time, which hide the time to the first byte. Images that are decoded at once share MAX_PIXELS.
THREADS = 4
# For all threads 150 MB decoded and 200 MB encoded: the machine that publishes may be smaller than those that detect.
MAX_PIXELS = 50_000_000
MAX_BYTES = 50 * 2**20

Made = TypeVar("Made")


@dataclass(frozen=True)
class Shown(Generic[Made]):
    """What was made of an image; or None, with the status and the reason in words."""

    made: Made | None
    status: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Wanted(Generic[Made]):
    """An image, the longer side in pixels at which it is wanted, and what is made of its pixels: uint8 RGB (h, w, 3) of
    the whole image, never enlarged."""

    image: PlannedImage
    record: Record
    side: float
    make: Callable[[Pixels], Made]


class PageImages:
    """Reads images from one store. When the store fails, `trouble` says how, and it is not asked again."""

    def __init__(self, opened: Callable[[], Store]) -> None:
        """opened: opens the store."""
        self._pixels = Budget(MAX_PIXELS)
        self._source: Store | None = None
        self.trouble: JobError | None = None
        try:
            self._source = opened()
        except JobError as error:
            self.trouble = error

    def make(self, wanted: Iterable[Wanted[Made]]) -> list[Shown[Made]]:
        """What was made of each image, in their order."""
        with ThreadPoolExecutor(THREADS, "picture") as pool:
            return list(pool.map(self._make, wanted))

    def _make(self, wanted: Wanted[Made]) -> Shown[Made]:
        image, record = wanted.image, wanted.record
        if record.status != "ok":
            return Shown(None, record.status, record.error or record.status)
        if image.size > MAX_BYTES:
            return _failed("too_large")
        if self._source is None or self.trouble is not None:
            return Shown(None, None, "storage cannot be read")
        try:
            content = self._source.fetch(image)
        except ItemError as error:
            return _failed(error.status)
        except JobError as error:
            self.trouble = error
            return Shown(None, None, "storage cannot be read")
        if content.etag != record.etag:
            return _failed("changed")
        try:
            data = content.decoded()
            height, width = frame_size(data, MAX_PIXELS)
            reading = _reading(height, width, wanted.side)
            with self._pixels.hold(decoded_pixels(data, height, width, reading)):
                return Shown(wanted.make(read_image(data, reading, MAX_PIXELS).pixels))
        except (ImageError, ItemError) as error:
            return _failed(error.status)


def _failed(status: str) -> Shown[Made]:
    return Shown(None, status, ERRORS[status])


def _reading(height: int, width: int, side: float) -> Reading:
    factor = side / max(height, width)
    if factor >= 1:
        return Reading(height, width, None)
    return Reading(max(1, round(height * factor)), max(1, round(width * factor)), "bicubic")
