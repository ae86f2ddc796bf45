"""Makes the record of one planned image: fetches it, decodes it, and runs the detector."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from detector.common.errors import ArtifactError, FormatError, ImageError
from detector.common.text import visible
from detector.runtime.detector import Detector, Image
from detector.runtime.postprocess import Detections
from jobs.batcher import Batcher
from jobs.decoding.decoders import DecoderEnded, Decoders
from jobs.errors import ItemError, ModelError
from jobs.formats import ERRORS, QUALITY_SINCE, BoxRecord, Plan, PlannedImage, QualityRecord, Record
from jobs.storage import Content, Store

# The largest image that is decoded (images.MAX_PIXELS) has 512 MiB uncompressed; a much larger file is not fetched.
MAX_BYTES = 640 * 2**20


@dataclass(frozen=True)
class FetchedImage:
    """The bytes of an image, and the wall time in seconds that it took to fetch them."""

    content: Content
    seconds: float


@dataclass(frozen=True)
class ImageResult:
    """The record of one image, the bytes that were read for it, and the wall time of each step in seconds.

    reason: more than the record says about a failure, for people.
    """

    record: Record
    reason: str = ""
    bytes_read: int = 0
    copied: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)


class Imager:
    """Makes the records of one plan; its methods may be called from several threads."""

    def __init__(self, source: Store, plan: Plan, detector: Detector, decoders: Decoders) -> None:
        self._source = source
        self._plan = plan
        self._detector = detector
        self._batcher = Batcher(detector, plan.min_score)
        self._decoders = decoders
        self._named: set[str] = set()
        self._lock = threading.Lock()

    def fetch(self, image: PlannedImage) -> FetchedImage:
        """Fetch the planned version of an image; raises ItemError or StorageError."""
        if image.size > MAX_BYTES:
            raise ItemError("too_large")
        start = time.perf_counter()
        content = self._source.fetch(image)
        return FetchedImage(content, time.perf_counter() - start)

    def make(self, image: PlannedImage, fetching: Future[FetchedImage]) -> ImageResult:
        """Make the record of an image when it is fetched; raises StorageError, and ModelError when the network
        fails."""
        try:
            fetched = fetching.result()
        except ItemError as error:
            return ImageResult(self._record(image, error.status), error.reason)
        content = fetched.content
        try:
            data = content.decoded()
            name = self._plan.input + image.key
            with self._decoders.read(name, data, self._detector.reading) as (read, decoding):
                record, seconds = self._look(image, content, read)
            seconds = {"decode": decoding, **seconds}
        except (ImageError, ItemError) as error:
            if isinstance(error, FormatError | DecoderEnded):
                self._warn(image, error)
            record, seconds = self._record(image, error.status, content), {}
        return ImageResult(record, bytes_read=len(content.data), seconds={"fetch": fetched.seconds} | seconds)

    def _warn(self, image: PlannedImage, error: FormatError | DecoderEnded) -> None:
        """Say why the image is not read, once for each reason: the text in the record is the same for all."""
        with self._lock:
            is_new = error.kind not in self._named
            self._named.add(error.kind)
        if is_new:
            print(f"warning: {visible(self._plan.input + image.key)}: {error}", file=sys.stderr, flush=True)

    def _look(self, image: PlannedImage, content: Content, read: Image) -> tuple[Record, Mapping[str, float]]:
        """Run the detector on an image; returns its record and the wall time of each step."""
        try:
            found, seconds = self._batcher.detect(read)
        except ArtifactError as error:
            raise ModelError(
                f"{visible(self._plan.input + image.key)}: {error}; plan again without this image (--exclude) in a new "
                "OUTPUT, and report it"
            ) from error
        boxes = boxes_of(found, self._detector.classes)
        return self._record(image, "ok", content, read, boxes), seconds

    def _record(
        self,
        image: PlannedImage,
        status: str,
        content: Content | None = None,
        read: Image | None = None,
        boxes: list[BoxRecord] | None = None,
    ) -> Record:
        # The records of an older plan stay without what came later, so that a run that is resumed has one kind only.
        later: dict[str, Any] = {}
        if self._plan.records_version >= QUALITY_SINCE:
            later["image_quality"] = QualityRecord(**vars(read.quality)) if read and read.quality else None
        return Record(
            run=self._plan.run,
            image=self._plan.input + image.key,
            etag=content.etag if content else image.etag,
            version_id=content.version_id if content else None,
            bytes=image.size,
            width=read.width if read else None,
            height=read.height if read else None,
            status=status,
            error=ERRORS[status],
            boxes=boxes or [],
            **later,
        )


def boxes_of(detections: Detections, classes: tuple[str, ...]) -> list[BoxRecord]:
    """Detections as the boxes of a record. The detector has rounded edges to sixteenths, so widths and heights are
    exact."""
    return [
        BoxRecord(label=classes[label], score=score, x=x1, y=y1, width=x2 - x1, height=y2 - y1)
        for label, score, (x1, y1, x2, y2) in zip(
            detections.labels.tolist(), detections.scores.tolist(), detections.boxes.tolist(), strict=True
        )
    ]
