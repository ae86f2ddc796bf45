"""Makes parts: images are fetched ahead, computed by threads, and written in the plan's order, without a pause between
parts.

A part is written in one step, and its statistics after it. A part without statistics is not finished and is made again.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import onnxruntime

from detector.common.errors import ArtifactError, DeviceError
from detector.runtime.decoding.readers import missing_readers
from detector.runtime.detector import Detector, open_detector
from detector.runtime.images import MAX_PIXELS
from jobs.budget import Budget
from jobs.decoding.decoders import Decoders
from jobs.errors import ModelError, StorageError, UsageError
from jobs.formats import RECORDS_VERSION, PartStats, Plan, PlannedImage, PlanPart, Record, sha256
from jobs.image import Imager, ImageResult
from jobs.model import run_model
from jobs.parts import WholePart, find_part, stats_key, write_records
from jobs.presence import Presence
from jobs.previous import PreviousRun
from jobs.storage import Store

# S3 usually takes 20 to 100 ms to the first byte. Sixteen requests at once keep a few compute threads busy.
FETCH_THREADS = 16
# Limit on the encoded bytes of all images that are fetched and not yet computed; a larger image is fetched alone.
AHEAD_BYTES = 256 * 2**20
# Parts that may wait to be written; a part of 500 photographs has about 300 kB.
WRITES_AHEAD = 4
# When the worker is stopped, it waits at most this long for a running PUT. Then the part is abandoned, and made again.
LAST_WRITE_SECONDS = 5.0
# A few images may be private or new. When more than this many in a row fail alike, they are not the cause.
MOST_FAILED_IN_A_ROW = 9
# It goes on while the machine sleeps, and nobody can set it. Only Linux has the first one.
STEADY_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

PartTask = tuple[PlanPart, list[PlannedImage]]


@dataclass
class PartDraft:
    """A part that is being made."""

    part: PlanPart
    images: list[PlannedImage]
    started: float  # on the steady clock
    records: list[Record] = field(default_factory=list)
    bytes_read: int = 0
    copied: int = 0
    denied: bool = False  # whether reading its last image was denied
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, made: ImageResult) -> None:
        self.records.append(made.record)
        self.bytes_read += made.bytes_read
        self.copied += made.copied
        for step, spent in made.seconds.items():
            self.seconds[step] = self.seconds.get(step, 0.0) + spent


class Worker:
    """Makes parts of one plan. It keeps its network and its threads from part to part; use it in a `with` block."""

    def __init__(
        self, source: Store, output: Store, plan: Plan, *, threads: int, share: int = 1, device: str = "auto"
    ) -> None:
        """threads: images computed at once, more where a GPU takes batches; share: how many workers divide this
        machine's memory; device: as `Session` takes it."""
        _require_readers(plan)
        _require_version(plan)
        self._decoders = Decoders(Budget(max(1, MAX_PIXELS // share)), threads)  # starts while the rest is loaded
        self._clock = _Clock(self._decoders.cpu_seconds)
        self._output = output
        self._plan = plan
        self._previous = PreviousRun.open(plan)
        try:
            detector = _detector(output, plan, device)
        except BaseException:
            self._decoders.close()
            raise
        self._device = detector.device.kind
        self._imager = Imager(source, plan, detector, self._decoders)
        if detector.batch > 1:
            threads = max(threads, 2 * detector.batch)  # while one batch is computed, the next one is read
        self._ahead_bytes = AHEAD_BYTES // share
        # Each thread of both pools has an image, and the next one is ready for each compute thread.
        self._ahead_images = 2 * threads + FETCH_THREADS
        self._fetchers = ThreadPoolExecutor(FETCH_THREADS, "fetch")
        self._computers = ThreadPoolExecutor(threads, "compute")
        self._writer = ThreadPoolExecutor(1, "write")
        self._writes: deque[Future[PartStats]] = deque()
        self._presence = Presence(source, output, plan)
        self._forbidden = self._changed = 0  # images in a row
        # Complete parts whose last image was denied. They are written when an image can be read again.
        self._held: list[PartDraft] = []

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        # After an error, wait only for parts that are being written: all other work belongs to parts that will not
        # be written.
        failed = exception[0] is not None
        if failed:
            wait(self._writes, LAST_WRITE_SECONDS)
        for pool in (self._computers, self._fetchers, self._writer):
            pool.shutdown(wait=not failed, cancel_futures=True)
        self._decoders.close()

    def make(
        self, parts: Iterable[PartTask], on_image: Callable[[str], object] = lambda _status: None
    ) -> Iterator[PartStats]:
        """Make and write every one of `parts`, each with its planned images; yields the statistics of each.

        on_image: called with the status of every record that was made.
        """
        for draft, result in self._in_order(parts):
            draft.add(result)
            self._watch_for_denial(draft, result)
            self._watch_for_changes(result)
            on_image(result.record.status)
            if len(draft.records) == len(draft.images):
                (self._held.append if draft.denied else self._write)(draft)
            yield from self._written(at_most=WRITES_AHEAD)
        self._release()
        yield from self._written(at_most=0)

    def _in_order(self, parts: Iterable[PartTask]) -> Iterator[tuple[PartDraft, ImageResult]]:
        """The result of each image, in order. Images ahead of it are computed meanwhile, as many as the limits
        allow."""
        ahead: deque[tuple[PartDraft, int, Future[ImageResult]]] = deque()
        bytes_ahead = 0
        for part, images in parts:
            draft = PartDraft(part, images, _steady())
            for image in images:
                copy = self._previous.record(image) if self._previous else None
                size = image.size if copy is None else 0
                while ahead and (len(ahead) >= self._ahead_images or bytes_ahead + size > self._ahead_bytes):
                    earlier, returned, future = ahead.popleft()
                    yield earlier, future.result()
                    bytes_ahead -= returned
                ahead.append((draft, size, self._start(image) if copy is None else _done(copy)))
                bytes_ahead += size
        for draft, _, future in ahead:
            yield draft, future.result()

    def _start(self, image: PlannedImage) -> Future[ImageResult]:
        # Both pools start their tasks in the order given, so a compute thread waits for a fetch that has begun.
        return self._computers.submit(self._imager.make, image, self._fetchers.submit(self._imager.fetch, image))

    def _watch_for_denial(self, draft: PartDraft, made: ImageResult) -> None:
        """Raise StorageError when too many images in a row were denied. Parts with images of that row are not
        written."""
        if made.copied:
            return
        draft.denied = made.record.status == "forbidden"
        if draft.denied:
            self._forbidden += 1
        else:
            self._forbidden = 0
            self._release()
        if self._forbidden > MOST_FAILED_IN_A_ROW:
            raise StorageError(
                f"{self._plan.input}: access denied to {self._forbidden} images in a row, up to {made.record.image}: "
                f"{made.reason}, or plan without them (--exclude) in a new OUTPUT"
            )

    def _watch_for_changes(self, made: ImageResult) -> None:
        """Say once that every image has changed: something between us and INPUT may be the cause."""
        if not made.copied:
            self._changed = self._changed + 1 if made.record.status == "changed" else 0
            if self._changed == MOST_FAILED_IN_A_ROW + 1:
                where = f"{self._plan.input}: {self._changed} images in a row, up to {made.record.image},"
                print(
                    f"warning: {where} are not the version that was planned ({made.reason}); if nobody has changed "
                    "them, a gateway or proxy changes what it passes on: read the store itself",
                    file=sys.stderr,
                    flush=True,
                )

    def _release(self) -> None:
        """Write the parts that were held back."""
        for draft in self._held:
            self._write(draft)
        self._held.clear()

    def _write(self, draft: PartDraft) -> None:
        """Hand a complete part to the writer."""
        self._writes.append(self._writer.submit(self._put, draft, *self._clock.lap()))

    def _put(self, draft: PartDraft, cpu_seconds: float, seconds: float) -> PartStats:
        found = find_part(self._output, self._plan, draft.part, draft.images)
        if isinstance(found, WholePart):
            return found.stats
        self._presence.require(draft.images, draft.records)
        records, data = write_records(self._output, self._plan, draft.part, draft.images, draft.records)
        started_at, finished_at = _moments(draft.started)
        stats = PartStats(
            run=self._plan.run,
            part=draft.part.name,
            sha256=sha256(data),
            images=len(draft.images),
            copied=draft.copied,
            statuses=dict(sorted(Counter(record.status for record in records).items())),
            boxes=sum(len(record.boxes) for record in records),
            bytes_read=draft.bytes_read,
            started_at=started_at,
            finished_at=finished_at,
            cpu_seconds=round(cpu_seconds, 3),
            seconds=round(seconds, 3),
            step_seconds={step: round(spent, 3) for step, spent in sorted(draft.seconds.items())},
            onnxruntime=onnxruntime.__version__,
            device=self._device,
        )
        self._output.write(stats_key(draft.part), stats.pretty())
        return stats

    def _written(self, at_most: int) -> Iterator[PartStats]:
        """The parts that were written since the last call; waits until at most `at_most` are still to be written."""
        while self._writes and (len(self._writes) > at_most or self._writes[0].done()):
            wait([self._writes[0]])  # it stays in the queue, because `__exit__` waits for everything there
            yield self._writes.popleft().result()


class _Clock:
    """Measures CPU and wall time from part to part, so that the parts add up to all that the process and its children
    took."""

    def __init__(self, children: Callable[[], float]) -> None:
        """children: returns the CPU seconds of the children up to now."""
        self._children = children
        self._cpu, self._wall = self._now()

    def lap(self) -> tuple[float, float]:
        before = self._cpu, self._wall
        self._cpu, self._wall = self._now()
        return self._cpu - before[0], self._wall - before[1]

    def _now(self) -> tuple[float, float]:
        return time.process_time() + self._children(), time.perf_counter()


def _steady() -> float:
    return time.clock_gettime(STEADY_CLOCK)


def _moments(started: float) -> tuple[str, str]:
    """The times of day at which a part began, and ended just now, UTC, ISO 8601. started: on the steady clock.

    The system's clock may be set while the part is made, and is right after that: so it tells the end, and the steady
    clock how long the part took.
    """
    ended = datetime.now(UTC)
    began = ended - timedelta(seconds=_steady() - started)
    return began.isoformat(timespec="milliseconds"), ended.isoformat(timespec="milliseconds")


def _require_version(plan: Plan) -> None:
    """Raise UsageError if the plan's records are of a version that this boxcar does not make; an older plan goes on."""
    if plan.records_version > RECORDS_VERSION:
        raise UsageError(
            f"the plan's records are of version {plan.records_version}, and this boxcar makes version "
            f"{RECORDS_VERSION}; use the boxcar that planned the run, or a newer one"
        )


def _require_readers(plan: Plan) -> None:
    """Raise UsageError if the plan names extensions of a format that this installation does not read."""
    for extension, remedy in missing_readers(plan.filters.extensions).items():
        raise UsageError(
            f"--extensions {extension}: nothing here reads these files; {remedy}, and run the same command again"
        )


def _detector(output: Store, plan: Plan, device: str) -> Detector:
    """The run's artifact, loaded. Each call uses one thread, because the worker has several compute threads."""
    with run_model(output, plan) as model:
        try:
            detector = open_detector(model.folder, device, tiling=plan.tiling)
        except DeviceError as error:
            raise UsageError(f"--{error}") from error
        except ArtifactError as error:
            raise ModelError(str(error)) from error
    if detector.device.why_not_gpu:
        print(f"warning: the GPU is not used: {detector.device.why_not_gpu}", file=sys.stderr, flush=True)
    return detector


def _done(record: Record) -> Future[ImageResult]:
    """The finished result of a record that was copied."""
    future: Future[ImageResult] = Future()
    future.set_result(ImageResult(record, copied=True))
    return future
