"""Makes the thumbnails of a report from images that are read from the run's INPUT again.

A report never fails because of an image: where one cannot be read, a reason takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from detector.common.errors import ImageError
from detector.common.pages import LARGEST_SIDE, thumbnail
from detector.runtime.images import frame_size
from detector.runtime.reading import Reading, decoded_pixels, read_image
from jobs.budget import Budget
from jobs.errors import ItemError, JobError
from jobs.formats import ERRORS
from jobs.report.samples import SampledImage
from jobs.storage import Store

# Requests at the same time, which hide the time to the first byte. Images that are decoded at once share MAX_PIXELS.
THREADS = 4
# For all threads 150 MB decoded and 200 MB encoded: the machine that publishes may be smaller than those that detect.
MAX_PIXELS = 50_000_000
MAX_BYTES = 50 * 2**20


@dataclass(frozen=True)
class Thumbnail:
    """A `data:` URI, or the reason why there is none."""

    uri: str | None
    reason: str | None = None


class Thumbnails:
    """Makes thumbnails from one store. When the store fails, `trouble` says how, and it is not asked again."""

    def __init__(self, opened: Callable[[], Store], budget: int) -> None:
        """opened: opens the store; budget: most characters of a thumbnail."""
        self._budget = budget
        self._pixels = Budget(MAX_PIXELS)
        self._source: Store | None = None
        self.trouble: str | None = None
        try:
            self._source = opened()
        except JobError as error:
            self.trouble = str(error)

    def make(self, items: Sequence[SampledImage]) -> list[Thumbnail]:
        """A thumbnail for each item, in their order."""
        with ThreadPoolExecutor(THREADS, "thumbnail") as pool:
            return list(pool.map(self._make, items))

    def _make(self, item: SampledImage) -> Thumbnail:
        image, record = item.image, item.record
        if record.status != "ok":
            return Thumbnail(None, record.error or record.status)
        if image.size > MAX_BYTES:
            return Thumbnail(None, ERRORS["too_large"])
        if self._source is None or self.trouble is not None:
            return Thumbnail(None, "storage cannot be read")
        try:
            content = self._source.fetch(image)
        except ItemError as error:
            return Thumbnail(None, ERRORS[error.status])
        except JobError as error:
            self.trouble = str(error)
            return Thumbnail(None, "storage cannot be read")
        if content.etag != record.etag:
            return Thumbnail(None, ERRORS["changed"])
        try:
            data = content.decoded()
            height, width = frame_size(data, MAX_PIXELS)
            reading = _reading(height, width)
            with self._pixels.hold(decoded_pixels(data, height, width, reading)):
                return Thumbnail(thumbnail(read_image(data, reading, MAX_PIXELS).pixels, self._budget))
        except (ImageError, ItemError) as error:
            return Thumbnail(None, ERRORS[error.status])


def _reading(height: int, width: int) -> Reading:
    """Return the size of the largest thumbnail; the smaller ones are made from it."""
    factor = LARGEST_SIDE / max(height, width)
    if factor >= 1:
        return Reading(height, width, None)
    return Reading(max(1, round(height * factor)), max(1, round(width * factor)), "bicubic")
