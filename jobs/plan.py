"""INPUT's listing, frozen, sorted, numbered and cut into parts; and the reader of what was frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from jobs.errors import StorageError, UsageError
from jobs.manifest import (
    SCHEMA_VERSION,
    Plan,
    PlannedImage,
    PlanPart,
    canonical_json,
    decode_lines,
    encode_lines,
    sha256,
    summary,
)
from jobs.model import Model, copy_model
from jobs.storage import Store

# What Pillow decodes of the formats that photographs come in.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
PLAN = "plan.json"
# The fields of a plan that decide its records, and so the name of the run.
DIGESTED = ("input", "artifact_sha256", "min_score", "part_size", "parts")


@dataclass(frozen=True)
class Options:
    """What a person chose; with the listing and the artifact it decides every byte of the records."""

    min_score: float
    part_size: int


def make_plan(source: Store, output: Store, model: Model, options: Options) -> Plan:
    """Freeze the listing of `source` in `output`, or return the plan that is there.

    Raises UsageError when `output` lies inside `source`, or holds a plan of something else. A plan that is there
    is not listed again: images that came since belong to the next run.
    """
    if output.uri.startswith(source.uri):
        raise UsageError(f"OUTPUT {output.uri} lies inside INPUT {source.uri}; choose an OUTPUT outside")
    existing = read_plan(output)
    if existing is not None:
        _refuse_other(existing, source, output, model, options)
        return existing

    images, other_files = _listing(source)
    parts: list[PlanPart] = []
    for start in range(0, len(images), options.part_size):
        data = encode_lines(images[start : start + options.part_size])
        name = f"part-{len(parts):07d}"
        output.write(f"plan/{name}.jsonl", data)
        parts.append(PlanPart(name=name, count=data.count(b"\n"), sha256=sha256(data)))
    copy_model(model, output)

    content: dict[str, Any] = {
        "input": source.uri,
        "artifact_sha256": model.sha256,
        "min_score": options.min_score,
        "part_size": options.part_size,
        "parts": [part.model_dump() for part in parts],
    }
    digest = plan_digest(content)
    plan = Plan(
        run=digest[:8],
        digest=digest,
        planned_at=datetime.now(UTC).isoformat(timespec="seconds"),
        images=len(images),
        other_files=other_files,
        **content,
    )
    output.write(PLAN, plan.pretty())  # last: from here on the plan exists
    return plan


def plan_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 over the fields of a plan that decide its records, as plain data."""
    return sha256(canonical_json({"schema": SCHEMA_VERSION} | {name: content[name] for name in DIGESTED}))


def _listing(source: Store) -> tuple[list[PlannedImage], int]:
    """The images, by key, and the number of other files; raises StorageError when a key is listed twice."""
    images = []
    other_files = 0
    for entry in source.list():
        if PurePosixPath(entry.key).suffix.lower() in IMAGE_SUFFIXES:
            images.append(PlannedImage(key=entry.key, size=entry.size, etag=entry.etag, mtime_ns=entry.mtime_ns))
        else:
            other_files += 1
    images.sort(key=lambda image: image.key.encode())
    for image, following in pairwise(images):
        if image.key == following.key:
            raise StorageError(f"{source.uri}{image.key}: listed twice; check the server, then plan again")
    return images, other_files


def _refuse_other(plan: Plan, source: Store, output: Store, model: Model, options: Options) -> None:
    pairs = {
        "INPUT": (plan.input, source.uri),
        "artifact": (f"sha256 {plan.artifact_sha256[:12]}", f"sha256 {model.sha256[:12]}"),
        "--min-score": (plan.min_score, options.min_score),
        "--part-size": (plan.part_size, options.part_size),
    }
    differences = [f"{name} is {old} there, {new} here" for name, (old, new) in pairs.items() if old != new]
    if differences:
        raise UsageError(
            f"{output.uri} holds another plan: {'; '.join(differences)}. Choose a new OUTPUT, or ask for the same"
        )


def read_plan(output: Store) -> Plan | None:
    """The plan in `output`; None where there is none. Raises UsageError when its digest is not that of its content."""
    data = output.read(PLAN)
    if data is None:
        return None
    try:
        plan = Plan.model_validate_json(data)
    except ValidationError as error:
        raise UsageError(f"{output.uri}{PLAN}: not a plan: {summary(error)}; choose another OUTPUT") from error
    digest = plan_digest(plan.model_dump())
    if (plan.digest, plan.run) != (digest, digest[:8]):
        raise UsageError(f"{output.uri}{PLAN}: changed since it was planned; plan the run again in a new OUTPUT")
    return plan


def require_plan(output: Store) -> Plan:
    """The plan in `output`; raises UsageError where there is none."""
    plan = read_plan(output)
    if plan is None:
        raise UsageError(f"{output.uri}: no plan here; make one with: boxcar plan INPUT {output.uri}")
    return plan


def shard_parts(plan: Plan, shard: int, shards: int) -> list[PlanPart]:
    """The parts that shard `shard` of `shards` takes: part number mod shard count."""
    return plan.parts[shard::shards]


def read_part(output: Store, part: PlanPart) -> list[PlannedImage]:
    """The images of one part, in order; raises UsageError when they are not the ones that were planned."""
    key = f"plan/{part.name}.jsonl"
    data = output.read(key)
    if data is None or sha256(data) != part.sha256:
        reason = "missing" if data is None else "changed since it was planned"
        raise UsageError(f"{output.uri}{key}: {reason}; plan the run again in a new OUTPUT")
    return decode_lines(PlannedImage, data)


def planned_parts(output: Store, plan: Plan) -> Iterator[tuple[PlanPart, list[PlannedImage]]]:
    """Every part with its images; raises UsageError unless each image is planned once and all are there.

    Keys increase strictly over all parts in the order of their UTF-8 bytes, so that none can be there twice.
    """
    last, count = b"", 0
    for part in plan.parts:
        images = read_part(output, part)
        keys = [last, *(image.key.encode() for image in images)]
        if len(images) != part.count or any(key >= following for key, following in pairwise(keys)):
            raise _damaged(output, f"{part.name} has other images than planned, or images out of order")
        yield part, images
        last = keys[-1]
        count += len(images)
    if count != plan.images:
        raise _damaged(output, f"its parts have {count} images, not {plan.images}")


def _damaged(output: Store, reason: str) -> UsageError:
    return UsageError(f"{output.uri}{PLAN}: the plan is damaged: {reason}; plan the run again in a new OUTPUT")
