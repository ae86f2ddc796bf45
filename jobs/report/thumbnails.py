"""The pictures of a report, read from the run's INPUT once more. One that cannot be had becomes a word: a report never
fails for want of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from detector.common.errors import ImageError
from detector.common.pages import thumbnail
from detector.runtime.images import count_pixels, decode_image
from jobs.budget import Budget
from jobs.errors import ItemError, JobError
from jobs.formats import ERRORS
from jobs.report.samples import SampledImage
from jobs.storage import Store, open_store

# Requests in flight, which hide the time to the first byte; the pictures that are decoded at a time share the pixels.
THREADS = 4
# 150 MB decoded, and 200 MB encoded for all threads: the machine that publishes may be smaller than those that detect.
MAX_PIXELS = 50_000_000
MAX_BYTES = 50 * 2**20


@dataclass(frozen=True)
class Thumbnail:
    """A `data:` URI, or the reason why there is none."""

    uri: str | None
    reason: str | None = None


class Thumbnails:
    """Reads from one store until it fails as a whole; `trouble` then says how, and nothing more is asked of it."""

    def __init__(self, uri: str, budget: int) -> None:
        """uri: of the store; budget: characters of a thumbnail."""
        self._budget = budget
        self._pixels = Budget(MAX_PIXELS)
        self._source: Store | None = None
        self.trouble: str | None = None
        try:
            self._source = open_store(uri)
        except JobError as error:
            self.trouble = str(error)

    def make(self, items: Sequence[SampledImage]) -> list[Thumbnail]:
        """One for each, in their order."""
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
            with self._pixels.hold(count_pixels(content.data, MAX_PIXELS)):
                return Thumbnail(thumbnail(decode_image(content.data, MAX_PIXELS), self._budget))
        except ImageError as error:
            return Thumbnail(None, ERRORS[error.status])
