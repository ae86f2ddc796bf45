"""Freezes the listing of INPUT as a plan, sorted and cut into parts, and reads plans."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, pairwise
from typing import Any

from detector.runtime.tiling import DEFAULT_OVERLAP
from jobs.errors import StorageError, UsageError
from jobs.formats import (
    RECORDS_VERSION,
    SCHEMA_VERSION,
    Filters,
    Plan,
    PlannedImage,
    PlanOptions,
    PlanPart,
    Since,
    canonical_json,
    decode_lines,
    parse,
    sha256,
)
from jobs.inventory import read_inventory
from jobs.listing import (
    CopyCounts,
    ListedImage,
    ListingCounts,
    PreviousImage,
    Selection,
    plan_lines,
    sample,
    sort_images,
    version_of,
)
from jobs.model import FILES, Model, copy_model, run_artifact
from jobs.previous import PROFILE, copy_profile, find_previous, has_profile
from jobs.storage import Store, open_store, read_ahead

# The extensions of photographs that are planned by default, and those of older versions, whose plans may be resumed.
IMAGE_EXTENSIONS = ["bmp", "gif", "jfif", "jpe", "jpeg", "jpg", "png", "tif", "tiff", "webp"]
EARLIER_EXTENSIONS = (["bmp", "gif", "jpeg", "jpg", "png", "tif", "tiff", "webp"],)
PLAN = "plan.json"
# The fields of a plan that decide its records, and so the name of the run.
DIGESTED = (PlanOptions.model_fields.keys() - {"model", "request_payer", "no_sign_request"}) | {
    "records_version",
    "parts",
}
# One PUT takes about 50 ms on S3, and ten million images make 20,000 parts.
WRITES_AT_ONCE = 16
CREATIONS = 5
# These options decide the record of a single image: records of a run that differs here are not copied.
DECIDING_A_RECORD = frozenset({"INPUT", "--min-score", "--tile", "--overlap"})

Notice = Callable[[str], None]


def plan_options(
    source: Store,
    model: Model,
    *,
    min_score: float | None = None,
    tile: int | None = None,
    overlap: float | None = None,
    since: str | None = None,
    **others: Any,
) -> PlanOptions:
    """The options of a plan over `source` with `model`, from what a person gave on the command line.

    min_score: the artifact's operating score unless given; overlap: of tiles, a fifth unless given; since: OUTPUT of
    the previous run, or a latest.json; others: more fields of PlanOptions, and of its filters. A list is sorted, and
    each of its values is kept once.
    """
    values: dict[str, Any] = {
        name: sorted(set(value)) if isinstance(value, tuple) else value for name, value in others.items()
    }
    filters = {name: values.pop(name) for name in Filters.model_fields if name in values}
    return PlanOptions(
        input=source.uri,
        artifact_sha256=model.sha256,
        model=model.source,
        min_score=model.artifact.operating_score if min_score is None else min_score,
        tile=tile,
        overlap=DEFAULT_OVERLAP if tile is not None and overlap is None else overlap,
        filters=Filters(**filters | {"extensions": filters.get("extensions") or IMAGE_EXTENSIONS}),
        since=None if since is None else Since(given=since),
        **values,
    )


@dataclass(frozen=True)
class Survey:
    """The content of a plan that is there, or of one that would be made."""

    plan: Plan | None  # the one that is there
    since: Since | None
    parts: int
    counts: ListingCounts
    copies: CopyCounts


def make_plan(source: Store, output: Store, model: Model, options: PlanOptions, notice: Notice) -> Plan:
    """Freeze the listing of `source` in `output`, or return the plan that is there.

    notice: called with sentences that a person should read. Raises UsageError when `output` lies inside `source`, or
    holds another plan. A plan that is there is not listed again: newer images belong to the next run. When two planners
    work at once, the plan of the first one stays. The parts of the other have different names, and nobody reads them.
    """
    plan = _plan_there(source, output, options)
    if plan is not None:
        notice(
            f"plan of {plan.planned_at} found: {plan.images:,} images; "
            "what changed in INPUT since then belongs to a new OUTPUT"
        )
    else:
        parts: list[PlanPart] = []
        with PlanDraft(source, model, options, notice) as draft:
            _write_all(output, draft.cut(parts))
        plan = draft.plan(parts)
        ours, plan = plan, _create(output, plan)  # `plan` is now the one in OUTPUT: ours, or another planner's
        _refuse_other(plan, output, options)
        if plan.digest != ours.digest:
            notice(f"another planner was first: its plan of {plan.planned_at} is used, with {plan.images:,} images")
    # Only now: when two planners have different artifacts, the one whose plan stays writes its artifact.
    _place_model(model, output)
    copy_profile(plan, output)
    return plan


def _create(output: Store, plan: Plan) -> Plan:
    """Write plan.json where there is none; returns the plan that is there then."""
    for attempt in range(CREATIONS):
        if output.swap(PLAN, plan.pretty(), None):
            return plan
        there = read_plan(output)
        if there is not None:
            return there
        time.sleep(attempt)  # S3 also refuses while another write is in progress; that write may fail, so try again
    raise StorageError(f"{output.uri}{PLAN}: other planners are at work on it; run again")


def survey(source: Store, output: Store, model: Model, options: PlanOptions, notice: Notice) -> Survey:
    """The plan that `make_plan` would write or find. Writes nothing; raises what `make_plan` raises."""
    there = _plan_there(source, output, options)
    if there is not None:
        size, copied = 0, 0
        for _, images in planned_parts(output, there):
            size += sum(image.size for image in images)
            copied += sum(image.size for image in images if image.previous is not None)
        counts = ListingCounts(there.images, size, there.other_files, there.filtered, there.hidden)
        return Survey(there, there.since, len(there.parts), counts, CopyCounts(there.copies, copied))
    with PlanDraft(source, model, options, notice) as draft:
        parts = -(-sum(1 for _ in draft.lines) // options.part_size)
    return Survey(None, draft.since, parts, draft.counts, draft.copies)


def plan_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 over the fields of a plan that decide its records, as plain data.

    A field that is missing is left out, so that the plan of an older boxcar, without newer options, keeps its digest.
    """
    digested = {name: content[name] for name in DIGESTED if name in content}
    return sha256(canonical_json({"schema": SCHEMA_VERSION} | digested))


class PlanDraft:
    """A plan that is being made. Its lines can be read once; its counts are final when they have been read."""

    def __init__(self, source: Store, model: Model, options: PlanOptions, notice: Notice) -> None:
        self._options = options
        self.since, self._earlier = _previous(model, options, notice)
        self._entries = (
            source.list(hidden=options.filters.hidden)
            if options.inventory is None
            else read_inventory(options.inventory, source)
        )
        selection = Selection(options.filters)
        self.counts = selection.counts
        self.copies = CopyCounts()
        images: Iterable[ListedImage] = selection.images(self._entries)
        if options.limit is not None:
            images = sample(images, options.limit, self.counts)
        self.lines = plan_lines(sort_images(images), self._earlier, self.copies, source.uri)

    def __enter__(self) -> PlanDraft:
        return self

    def __exit__(self, *_exception: object) -> None:
        # Otherwise the traceback of an error would keep the generators and the threads that read ahead for them.
        for drawn in (self._entries, self._earlier):
            if isinstance(drawn, Generator):
                drawn.close()

    def cut(self, parts: list[PlanPart]) -> Iterator[tuple[str, bytes]]:
        """The key and the bytes of each part in turn; each is added to `parts`."""
        while lines := list(islice(self.lines, self._options.part_size)):
            data = b"".join(lines)
            part = PlanPart(name=f"part-{len(parts):07d}", count=len(lines), sha256=sha256(data))
            parts.append(part)
            yield planned_key(part), data

    def plan(self, parts: list[PlanPart]) -> Plan:
        """The plan; to be called when all parts are cut."""
        options = self._options.model_copy(update={"since": self.since})
        made = {"records_version": RECORDS_VERSION, "parts": [part.model_dump() for part in parts]}
        digest = plan_digest(options.model_dump() | made)
        return Plan(
            **dict(options),
            run=digest[:8],
            digest=digest,
            planned_at=datetime.now(UTC).isoformat(timespec="seconds"),
            records_version=RECORDS_VERSION,
            images=self.counts.images,
            other_files=self.counts.other_files,
            filtered=self.counts.filtered,
            hidden=self.counts.hidden,
            copies=self.copies.images,
            parts=parts,
        )


def _previous(model: Model, options: PlanOptions, notice: Notice) -> tuple[Since | None, Iterator[PreviousImage]]:
    """The previous run and its images. When nothing of it can be copied there are no images, and a notice says why.

    A schedule that names the run before must not end because the artifact has changed.
    """
    if options.since is None:
        return None, iter(())
    since = find_previous(options.since.given)
    if since.output is None:
        notice(f"--since {since.given}: not there yet, so nothing is copied")
        return since, iter(())
    store = open_store(since.output)
    plan = require_plan(store)
    if plan.run != since.run:
        raise UsageError(
            f"--since {since.given}: {store.uri}{PLAN} is of run {plan.run}, not {since.run}; name another run"
        )
    differences = _differences(plan, options, DECIDING_A_RECORD)
    if plan.records_version != RECORDS_VERSION:
        differences = (
            f"its records are of version {plan.records_version}, and this boxcar makes version {RECORDS_VERSION}"
        )
    elif run_artifact(store, plan).boxes_digest() != model.artifact.boxes_digest():
        differences = _differences(plan, options, {"artifact"}) or differences
    if differences:
        notice(f"--since {since.given}: nothing is copied from {store.uri}: {differences}")
        return Since(given=since.given), iter(())
    if since.profile_sha256 is not None and not has_profile(since):
        notice(
            f"--since {since.given}: {store.uri}{PROFILE} is missing or not the one that was published, so drift is "
            f"measured from the artifact's test images; to compare with that run, write the file again with: "
            f"boxcar finish {store.uri}, and plan in a new OUTPUT"
        )
        since = since.model_copy(update={"profile_sha256": None})
    return since, _earlier(store, plan)


def _earlier(output: Store, plan: Plan) -> Iterator[PreviousImage]:
    for part, images in planned_parts(output, plan):
        for image in images:
            version = version_of(image.size, image.etag, image.mtime_ns)
            yield PreviousImage(image.key.encode(), version, image.size, part.name)


def _write_all(output: Store, objects: Iterable[tuple[str, bytes]]) -> None:
    """Write objects, several at a time. When one fails, writes that have begun are completed, and no others begin."""
    under_way: deque[Future[None]] = deque()
    with ThreadPoolExecutor(WRITES_AT_ONCE, "write") as pool:
        try:
            for key, data in objects:
                if len(under_way) == WRITES_AT_ONCE:
                    under_way.popleft().result()
                under_way.append(pool.submit(output.write, key, data))
            while under_way:
                under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def _place_model(model: Model, output: Store) -> None:
    """Copy the artifact unless it is there already. It is missing too when a planner was killed after it wrote its
    plan."""
    wanted = dict(zip(FILES, (model.artifact.onnx_sha256, model.sha256), strict=True))
    for name, digest in wanted.items():
        data = output.read(f"model/{name}")
        if data is None or sha256(data) != digest:
            copy_model(model, output)
            return


def _plan_there(source: Store, output: Store, options: PlanOptions) -> Plan | None:
    require_apart(source, output)
    plan = read_plan(output)
    if plan is not None:
        _refuse_other(plan, output, options)
    return plan


def require_apart(source: Store, output: Store) -> None:
    """Raise UsageError when OUTPUT lies inside INPUT: the next run would read what this one writes."""
    if output.uri.startswith(source.uri):
        raise UsageError(f"OUTPUT {output.uri} lies inside INPUT {source.uri}; choose an OUTPUT outside")


def _refuse_other(plan: Plan, output: Store, options: PlanOptions) -> None:
    differences = _differences(plan, options)
    if differences:
        raise UsageError(
            f"{output.uri} holds another plan: {differences}. Choose a new OUTPUT, or use the same options"
        )


def _differences(there: PlanOptions, here: PlanOptions, names: Container[str] | None = None) -> str:
    """The options that differ between two plans, as a text; empty when none does. names: all options unless given."""
    old, new = there.asked(), here.asked()
    if new["--extensions"] == IMAGE_EXTENSIONS and old["--extensions"] in EARLIER_EXTENSIONS:
        del old["--extensions"], new["--extensions"]  # nobody asked for others: the default has changed
    return "; ".join(
        f"{name} is {_text(name, old.get(name))} there, {_text(name, new.get(name))} here"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name) and (names is None or name in names)
    )


def _text(name: str, value: object) -> str:
    if isinstance(value, list):
        return ",".join(value) or "none"
    return "none" if value is None else f"sha256 {str(value)[:12]}" if name == "artifact" else str(value)


def read_plan(output: Store) -> Plan | None:
    """The plan in `output`; None where there is none. Raises UsageError when its digest is not that of its content."""
    data = output.read(PLAN)
    if data is None:
        return None
    plan = parse(Plan, data, output.uri + PLAN, "a plan", "choose another OUTPUT")
    digest = plan_digest(plan.model_dump(exclude_unset=True))
    if (plan.digest, plan.run) != (digest, digest[:8]):
        raise UsageError(
            f"{output.uri}{PLAN}: changed since it was planned, or made by a newer boxcar; plan the run again in "
            "a new OUTPUT"
        )
    return plan


def require_plan(output: Store) -> Plan:
    """The plan in `output`; raises UsageError where there is none."""
    plan = read_plan(output)
    if plan is None:
        raise UsageError(f"{output.uri}: no plan here; make one with: boxcar plan INPUT {output.uri}")
    return plan


def open_input(plan: Plan) -> Store:
    """The INPUT of a plan."""
    return open_store(plan.input, request_payer=plan.request_payer, no_sign_request=plan.no_sign_request)


def shard_parts(plan: Plan, shard: int, shards: int) -> list[PlanPart]:
    """The parts of shard `shard` of `shards`: those whose number modulo `shards` is `shard`."""
    return plan.parts[shard::shards]


def planned_key(part: PlanPart) -> str:
    """The key of a part's planned images below OUTPUT.

    It holds their digest, so that two planners at once never overwrite each other's parts.
    """
    return f"plan/{part.name}-{part.sha256[:8]}.jsonl"


def planned_parts(output: Store, plan: Plan) -> Iterator[tuple[PlanPart, list[PlannedImage]]]:
    """Every part with its planned images, several read at a time; raises UsageError when one has changed."""
    with contextlib.closing(read_ahead(output, map(planned_key, plan.parts))) as found:
        for part, data in zip(plan.parts, found, strict=True):
            yield part, decode_planned(output, part, data)


def decode_planned(output: Store, part: PlanPart, data: bytes | None) -> list[PlannedImage]:
    """The planned images of one part, in order, from the bytes at its key; raises UsageError when they have changed."""
    if data is None or sha256(data) != part.sha256:
        reason = "missing" if data is None else "changed since it was planned"
        raise UsageError(f"{output.uri}{planned_key(part)}: {reason}; plan the run again in a new OUTPUT")
    return decode_lines(PlannedImage, data)


class PlanOrder:
    """Checks, part by part, that each image is planned once.

    The keys of all parts must increase strictly in the order of their UTF-8 bytes, so that no key can come twice.
    """

    def __init__(self, output: Store, plan: Plan) -> None:
        self._where, self._images = output.uri + PLAN, plan.images
        self._last, self._count = b"", 0

    def add(self, part: PlanPart, images: list[PlannedImage]) -> None:
        """Check the next part; raises UsageError unless it has the planned number of images, which follow those
        before."""
        keys = [self._last, *(image.key.encode() for image in images)]
        self._require(
            len(images) == part.count and all(key < following for key, following in pairwise(keys)),
            f"{part.name} has other images than planned, or images out of order",
        )
        self._last = keys[-1]
        self._count += len(images)

    def end(self) -> None:
        """Check, after the last part, that all images came; raises UsageError otherwise."""
        self._require(self._count == self._images, f"its parts have {self._count} images, not {self._images}")

    def _require(self, holds: bool, reason: str) -> None:
        if not holds:
            raise UsageError(f"{self._where}: the plan is damaged: {reason}; plan the run again in a new OUTPUT")
