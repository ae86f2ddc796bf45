"""One part: fetch, decode, predict, and write its records in the plan's order, whatever becomes of single images.

Downloads run ahead of the compute threads, within a bound on their number and their bytes. A part is written in
one step and its statistics after it: a part without them is not finished, and is made again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

from detector.errors import ArtifactError, ImageError
from detector.predictor import Detections, Predictor, decode_image
from jobs.errors import ItemError, ModelError
from jobs.manifest import ERRORS, BoxRecord, PartStats, Plan, PlannedImage, PlanPart, Record, encode_lines, sha256
from jobs.model import run_model
from jobs.parts import WholePart, check_part, records_key, stats_key
from jobs.plan import read_part
from jobs.storage import Content, Entry, Store

# Sixteen requests in flight hide S3's usual 20-100 ms to the first byte behind a few compute threads.
FETCH_THREADS = 16
# Encoded bytes of the images fetched or being fetched, not yet predicted, together; one larger image is fetched alone.
AHEAD_BYTES = 256 * 2**20
# The largest picture that is decoded (preprocess.MAX_PIXELS) has 512 MiB uncompressed; a larger file is not fetched.
MAX_BYTES = 640 * 2**20


class Progress(Protocol):
    """Who watches a worker."""

    def image(self, status: str) -> None:
        """One record was made."""

    def part(self, stats: PartStats, *, skipped: bool) -> None:
        """A part is in place; `skipped` when it was there before."""


@dataclass(frozen=True)
class _Made:
    record: Record
    bytes_read: int


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work(source: Store, output: Store, plan: Plan, parts: list[PlanPart], threads: int, progress: Progress) -> None:
    """Make those of `parts` that are not there yet."""
    with contextlib.ExitStack() as stack:
        maker: _Maker | None = None
        for part in parts:
            images = read_part(output, part)
            found = check_part(output, plan, part, images)
            if isinstance(found, WholePart):
                progress.part(found.stats, skipped=True)
                continue
            if maker is None:  # a shard that is done loads no network
                maker = stack.enter_context(_Maker(source, plan, _predictor(output, plan), threads, progress))
            stats, data = maker.make(part, images)
            output.write(records_key(part), data)
            output.write(stats_key(part), stats.pretty())
            progress.part(stats, skipped=False)


def _predictor(output: Store, plan: Plan) -> Predictor:
    """The run's own artifact, one thread a call: the compute threads are the parallelism."""
    with run_model(output, plan) as model:
        try:
            return Predictor(model.folder, threads=1)
        except ArtifactError as error:
            raise ModelError(str(error)) from error


class _Maker:
    """The two thread pools and what they share."""

    def __init__(self, source: Store, plan: Plan, predictor: Predictor, threads: int, progress: Progress) -> None:
        self._source = source
        self._plan = plan
        self._predictor = predictor
        self._progress = progress
        # Images in flight: every thread of both pools has one, and every compute thread the next one at hand.
        self._ahead_images = 2 * threads + FETCH_THREADS
        self._fetchers = ThreadPoolExecutor(FETCH_THREADS, "fetch")
        self._computers = ThreadPoolExecutor(threads, "compute")

    def __enter__(self) -> _Maker:
        return self

    def __exit__(self, *exception: object) -> None:
        # After an error nothing is waited for: what is in flight belongs to a part that will not be written.
        for pool in (self._computers, self._fetchers):
            pool.shutdown(wait=exception[0] is None, cancel_futures=True)

    def make(self, part: PlanPart, images: list[PlannedImage]) -> tuple[PartStats, bytes]:
        """The statistics and the bytes of one part."""
        started, cpu_started = time.perf_counter(), time.process_time()
        records: list[Record] = []
        statuses: Counter[str] = Counter()
        bytes_read = 0
        for made in self._in_order(images):
            records.append(made.record)
            statuses[made.record.status] += 1
            bytes_read += made.bytes_read
            self._progress.image(made.record.status)
        data = encode_lines(records)
        stats = PartStats(
            run=self._plan.run,
            part=part.name,
            sha256=sha256(data),
            images=len(records),
            statuses=dict(sorted(statuses.items())),
            boxes=sum(len(record.boxes) for record in records),
            bytes_read=bytes_read,
            cpu_seconds=round(time.process_time() - cpu_started, 3),
            seconds=round(time.perf_counter() - started, 3),
            onnxruntime=version("onnxruntime"),
        )
        return stats, data

    def _in_order(self, images: list[PlannedImage]) -> Iterator[_Made]:
        """One result an image, in order, with as many images ahead of it as the bounds allow."""
        ahead: deque[tuple[int, Future[_Made]]] = deque()
        bytes_ahead = 0
        for image in images:
            while ahead and (len(ahead) >= self._ahead_images or bytes_ahead + image.size > AHEAD_BYTES):
                size, future = ahead.popleft()
                yield future.result()
                bytes_ahead -= size
            # Both pools start their tasks in the order given, so a compute thread waits for a fetch that has begun.
            fetched = self._fetchers.submit(self._fetch, image)
            ahead.append((image.size, self._computers.submit(self._compute, image, fetched)))
            bytes_ahead += image.size
        for _, future in ahead:
            yield future.result()

    def _fetch(self, image: PlannedImage) -> Content:
        if image.size > MAX_BYTES:
            raise ItemError("too_large")
        return self._source.fetch(Entry(image.key, image.size, image.etag, image.mtime_ns))

    def _compute(self, image: PlannedImage, fetched: Future[Content]) -> _Made:
        try:
            content = fetched.result()
        except ItemError as error:
            return _Made(self._record(image, error.status), 0)
        try:
            pixels = decode_image(content.data)
        except ImageError as error:
            return _Made(self._record(image, error.status, content), len(content.data))
        detections = self._predictor.predict(pixels, min_score=self._plan.min_score)
        height, width = pixels.shape[:2]
        boxes = _boxes(detections, self._predictor.artifact.classes)
        return _Made(self._record(image, "ok", content, width, height, boxes), len(content.data))

    def _record(
        self,
        image: PlannedImage,
        status: str,
        content: Content | None = None,
        width: int | None = None,
        height: int | None = None,
        boxes: list[BoxRecord] | None = None,
    ) -> Record:
        return Record(
            run=self._plan.run,
            image=self._plan.input + image.key,
            etag=content.etag if content else image.etag,
            version_id=content.version_id if content else None,
            bytes=image.size,
            width=width,
            height=height,
            status=status,
            error=ERRORS[status],
            boxes=boxes or [],
        )


def _boxes(detections: Detections, classes: tuple[str, ...]) -> list[BoxRecord]:
    """Edges become a size here; the numbers were rounded by the predictor, and differences of sixteenths are exact."""
    return [
        BoxRecord(label=classes[label], score=score, x=x1, y=y1, width=x2 - x1, height=y2 - y1)
        for label, score, (x1, y1, x2, y2) in zip(
            detections.labels.tolist(), detections.scores.tolist(), detections.boxes.tolist(), strict=True
        )
    ]
