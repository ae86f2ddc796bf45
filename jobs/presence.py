"""Tells images that are missing from an INPUT that is gone: the absence of everything says nothing about one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice

from jobs.errors import ItemError, StorageError
from jobs.formats import Plan, PlannedImage, Record
from jobs.listing import Selection
from jobs.plan import planned_parts
from jobs.storage import FolderStore, Store

# Objects of S3 that are asked for one by one before the listing is read.
MOST_ASKED = 8
# Images that are looked for again at the same time.
THREADS = 16


class Presence:
    """Checks INPUT for the parts of one plan; use it from one thread."""

    def __init__(self, source: Store, output: Store, plan: Plan) -> None:
        self._source = source
        self._plan = plan
        self._last: list[str] = []  # the image that was there when INPUT was checked last
        # A key that was looked for in vain is not looked for again: the iterator goes on where it stopped.
        self._others = (image.key for _, images in planned_parts(output, plan) for image in images)

    def require(self, images: Sequence[PlannedImage], records: Sequence[Record]) -> None:
        """Raise StorageError when images of a part are missing because INPUT is gone, or was gone for a while."""
        missing = [image for image, record in zip(images, records, strict=True) if record.status == "missing"]
        if not missing:
            return
        self._source.require_same()
        gone = {image.key for image in missing}
        there = next(self._answering(image.key for image in reversed(images) if image.key not in gone), None)
        if there is None:
            raise StorageError(
                f"{self._plan.input}: no planned image is there any more; check that the volume is mounted and the "
                "prefix exists, then run again"
            )
        self._last = [there]
        with ThreadPoolExecutor(THREADS, "look") as pool:
            for image, is_back in zip(missing, pool.map(self._is_back, missing), strict=True):
                if is_back:
                    raise StorageError(
                        f"{self._plan.input}{image.key}: was missing a moment ago and is there again, so INPUT comes "
                        "and goes; check its connection, then run again"
                    )

    def _answering(self, read: Iterator[str]) -> Iterator[str]:
        """The keys of images that are there now."""
        keys = chain(self._last, read, self._others)
        if isinstance(self._source, FolderStore):
            yield from filter(self._source.holds, keys)
            return
        yield from filter(self._source.holds, islice(keys, MOST_ASKED))
        listed = Selection(self._plan.filters).images(self._source.list(hidden=self._plan.filters.hidden))
        yield from (key.decode() for key, *_ in listed)

    def _is_back(self, image: PlannedImage) -> bool:
        try:
            self._source.fetch(image)
        except ItemError as error:
            return error.status != "missing"
        return True
