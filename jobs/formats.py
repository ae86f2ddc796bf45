"""What a run's files hold: one pydantic model for each kind of line or file, and their canonical bytes.

Models check shapes and types, not values: a score above 1 must reach the rules (expectations/), which show
it to a person, rather than end as a file that cannot be read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails

from jobs.errors import UsageError

SCHEMA_VERSION = 1

# Why an image has no boxes, in words of our own: a library's message changes with its version, and so would our bytes.
ERRORS: dict[str, str | None] = {
    "ok": None,
    "missing": "no such image any more",
    "forbidden": "access denied",
    "changed": "not the version that was planned",
    "empty": "no bytes",
    "unreadable": "not an image, or damaged",
    "too_large": "too many bytes or pixels",
}
STATUSES = tuple(ERRORS)
FAILURES = STATUSES[1:]


class FileModel(BaseModel):
    """Base of every model: no infinite number, and no change once it is made.

    Whoever makes a value may give only the fields that are declared. `read` ignores other fields, so that a format can
    grow within its schema version.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def canonical(self) -> bytes:
        """The one encoding of this value: compact UTF-8 JSON on one line, keys in the order of the fields."""
        return self.model_dump_json(by_alias=True).encode()

    def pretty(self) -> bytes:
        """For files that people open: indented UTF-8 JSON."""
        return self.model_dump_json(by_alias=True, indent=2).encode() + b"\n"


class VersionedModel(FileModel):
    """Base of what other programs read: carries the version of its own format, and refuses another one.

    `summary` and `other_schema` look for the refusal when reading has failed: a validator would cost a third of the
    time that records take.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema", description="Version of this format.")


# What every format can hold, and no picture exceeds.
Whole = Annotated[int, Field(ge=-(2**31), lt=2**31)]


def _is_moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Moment = Annotated[str, AfterValidator(_is_moment)]


class BoxRecord(FileModel):
    """One detection."""

    label: str = Field(description="One of the artifact's classes.")
    score: float = Field(
        description="Share, 0 to 1: how sure the detector is; from `min_score` on, in steps of 0.0001."
    )
    x: float = Field(description="Left edge, pixels from the image's left edge, in steps of 1/16.")
    y: float = Field(description="Top edge, pixels from the image's top edge, in steps of 1/16.")
    width: float = Field(description="Pixels, above 0; `x + width` is at most the image's width.")
    height: float = Field(description="Pixels, above 0; `y + height` is at most the image's height.")


class Record(VersionedModel):
    """One planned image: what was read, and the boxes found; the frame is the image after its EXIF orientation."""

    run: str = Field(description="The run's name: the first 8 hex digits of its plan's digest.")
    image: str = Field(description="s3://bucket/key, or the absolute path of a file.")
    etag: str | None = Field(
        description="Version of the bytes: S3's ETag, or a file's MD5 in hex; null for a file that was not read."
    )
    version_id: str | None = Field(description="S3's version id of the bytes; null without versioning.")
    bytes: int = Field(description="Size of the encoded image, in bytes, as planned.")
    width: Whole | None = Field(description="Pixels; null unless the status is ok.")
    height: Whole | None = Field(description="Pixels; null unless the status is ok.")
    status: str = Field(description="ok, or why there are no boxes.", json_schema_extra={"enum": list(STATUSES)})
    error: str | None = Field(
        description="The status in words; null when it is ok.", json_schema_extra={"enum": list(ERRORS.values())}
    )
    boxes: list[BoxRecord] = Field(description="Best score first; empty unless the status is ok.")


class PlannedImage(FileModel):
    """One line of a plan's part: an image as the listing saw it. Its version is that of plan.json, which holds its
    digest."""

    key: str = Field(description="Relative to the plan's input.")
    size: int = Field(description="Of the encoded image, in bytes.")
    etag: str | None = Field(description="S3's ETag; null in a folder.")
    mtime_ns: int | None = Field(description="A file's modification time, nanoseconds since 1970; null on S3.")
    previous: str | None = Field(
        default=None, description="Name of the previous run's part that holds the record of this very version; or null."
    )


@dataclass(frozen=True)
class AskedAs:
    """Marks a field that a person chooses for a plan, and says under which name: an option or an argument."""

    name: str


class Filters(FileModel):
    """Which of the listed files are planned; patterns are shell globs over the key, in which * crosses /."""

    include: Annotated[list[str], AskedAs("--include")] = Field(
        default=[], description="An image matches one of these, where there are any; sorted."
    )
    exclude: Annotated[list[str], AskedAs("--exclude")] = Field(
        default=[], description="An image matches none of these; sorted."
    )
    extensions: Annotated[list[str], AskedAs("--extensions")] = Field(
        default=[], description="Of images; lower case, without the dot, sorted."
    )


class Since(FileModel):
    """The previous run, from which the records of unchanged images are copied."""

    # What was asked for is compared, not the run that it led to: a latest.json moves on.
    given: Annotated[str, AskedAs("--since")] = Field(
        description="As it was asked for: the OUTPUT of a run, or a latest.json that names one."
    )
    output: str | None = Field(default=None, description="The previous run's OUTPUT; null when nothing can be copied.")
    run: str | None = Field(default=None, description="The previous run's name; or null.")
    manifest_sha256: str | None = Field(
        default=None, description="SHA-256 of the previous run's manifest.json; or null."
    )


class PlanPart(FileModel):
    """One slice of the listing."""

    name: str = Field(description="part- and seven digits.")
    count: int = Field(description="Images.")
    sha256: str = Field(description="Of plan/NAME-DDDDDDDD.jsonl, whose name holds the first 8 digits of it.")


class PlanHead(VersionedModel):
    """The name of a plan."""

    run: str = Field(description="The run's name: the first 8 hex digits of the digest.")
    digest: str = Field(
        description="SHA-256 over the input, inventory, filters, artifact_sha256, min_score, part_size, since, redo "
        "and parts of this file."
    )
    planned_at: Moment = Field(description="When the listing was frozen, UTC, ISO 8601; not part of the digest.")


class PlanOptions(FileModel):
    """What a plan is asked for. With the listing it decides every byte of the records.

    Every field but `model` is part of the plan's digest. The fields that are marked with `AskedAs` are compared when a
    plan is asked for again. To add an option, add a field here, with a default value for older plans, and a click
    option of the same name.
    """

    input: Annotated[str, AskedAs("INPUT")] = Field(
        description="The folder or S3 prefix that was listed, ending with /."
    )
    inventory: Annotated[str | None, AskedAs("--inventory")] = Field(
        default=None, description="URI of the S3 Inventory manifest that was read in place of a listing; or null."
    )
    filters: Filters = Field(default=Filters(), description="Which of the listed files are planned.")
    artifact_sha256: Annotated[str, AskedAs("artifact")] = Field(
        description="SHA-256 of model/model.json, which names that of model/model.onnx."
    )
    model: str | None = Field(default=None, description="The artifact as --model named it; null: the shipped one.")
    min_score: Annotated[float, AskedAs("--min-score")] = Field(
        description="Boxes with a lower score, 0 to 1, are dropped."
    )
    part_size: Annotated[int, AskedAs("--part-size")] = Field(description="Images a part; the last one may have fewer.")
    since: Since | None = Field(default=None, description="The previous run; null without one.")
    redo: Annotated[list[str], AskedAs("--redo")] = Field(
        default=[], description="Statuses whose records are not copied but made again; sorted."
    )

    def asked(self) -> dict[str, Any]:
        """The values that a person chose, by the names under which they are asked for."""
        return _asked(self)


class Plan(PlanOptions, PlanHead):
    """plan.json: the frozen listing of a run, and everything that decides its records."""

    images: int = Field(description="Images planned.")
    other_files: int = Field(description="Files that were listed but are not images by their extension.")
    filtered: int = Field(default=0, description="Images that the filters' patterns left out.")
    copies: int = Field(default=0, description="Planned images whose record may be copied from the previous run.")
    parts: list[PlanPart] = Field(description="In order.")


def _asked(row: FileModel) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in type(row).model_fields.items():
        value = getattr(row, name)
        marks = [mark.name for mark in field.metadata if isinstance(mark, AskedAs)]
        if marks:
            found[marks[0]] = value
        elif isinstance(value, FileModel):
            found |= _asked(value)
    return found


class PartStats(FileModel):
    """stats/NAME.json: what is known of a part besides its bytes, which must not depend on time or place. Its version
    is that of plan.json, without which nobody reads it."""

    run: str = Field(description="The run that the part belongs to.")
    part: str = Field(description="The part's name.")
    sha256: str = Field(description="SHA-256 of boxes/NAME.jsonl, in hex.")
    images: int = Field(description="Records in the part.")
    copied: int = Field(description="Records copied from the previous run, of images that have not changed.")
    statuses: dict[str, int] = Field(description="Records by status; those that occur.")
    boxes: int = Field(description="Boxes in the part.")
    bytes_read: int = Field(description="Bytes of images read from the input.")
    started_at: Moment = Field(description="When its first image was taken up, UTC, ISO 8601.")
    finished_at: Moment = Field(description="When its records were written, UTC, ISO 8601.")
    cpu_seconds: float = Field(description="CPU time of the process since it finished the part before, in seconds.")
    seconds: float = Field(description="Wall time since the process finished the part before, in seconds.")
    step_seconds: dict[str, float] = Field(description="Wall time by step, added up over its images, in seconds.")
    onnxruntime: str = Field(description="Version of ONNX Runtime.")


class RuleResult(FileModel):
    """One rule's verdict over the whole run."""

    rule: str = Field(description="The rule's name.")
    sentence: str = Field(description="What the rule demands.")
    severity: Literal["reject", "warn"] = Field(description="What it means for the run when the rule is broken.")
    verdict: Literal["passed", "warned", "rejected", "skipped"] = Field(
        description="skipped when there is too little to judge by; `observed` says so."
    )
    checked: int = Field(description="What was looked at: images, records or boxes, by the rule.")
    broken: int = Field(description="Findings; a box outside on two sides counts twice.")
    observed: str = Field(description="What was found, for people.")
    examples: list[str] = Field(description="Images that break the rule; at most 20.")


class Validation(VersionedModel):
    """quality/validation.json: what every rule said."""

    run: str = Field(description="The run's name.")
    status: Literal["valid", "rejected"] = Field(description="rejected when any rule's verdict is rejected.")
    max_failed: float = Field(description="Share of images, 0 to 1, that may fail.")
    strict: list[str] = Field(default=[], description="Rules that only warn by default and reject this run; sorted.")
    rules: list[RuleResult] = Field(description="One result a rule.")


class PartEntry(FileModel):
    """A part as the manifest lists it."""

    key: str = Field(pattern=r"^boxes/part-\d{7,}\.jsonl$", description="Relative to the manifest's folder.")
    count: int = Field(description="Records.")
    bytes: int = Field(description="Size of the file, in bytes.")
    sha256: str = Field(description="SHA-256 of the file, in hex.")


class Lineage(FileModel):
    """Where a run's boxes come from."""

    plan_digest: str = Field(description="SHA-256 of the plan's content.")
    artifact_name: str = Field(description="The detector's name.")
    artifact_sha256: str = Field(description="SHA-256 of model/model.json, in hex.")
    onnx_sha256: str = Field(description="SHA-256 of model/model.onnx, in hex.")
    git_revision: str | None = Field(description="Of the code that built the artifact.")
    data_digest: str = Field(description="Of the data that the artifact was trained on.")
    params_digest: str = Field(description="Of the parameters that the artifact was trained with.")
    boxcar: str | None = Field(description="Version of the package that published the run; null when not installed.")
    onnxruntime: list[str] = Field(description="Versions of ONNX Runtime that made the parts.")


class Cost(FileModel):
    """What making the parts took; work that was lost in a kill is not in it."""

    cpu_seconds: float = Field(description="CPU time over all workers, in seconds.")
    bytes_read: int = Field(description="Bytes of images read from the input.")


class Manifest(VersionedModel):
    """manifest.json: what a run is, its parts with their digests, its verdict. Its presence means published."""

    run: str = Field(
        pattern="^[0-9a-f]{8}$", description="The run's name: the first 8 hex digits of its plan's digest."
    )
    status: Literal["valid", "rejected"] = Field(description="The verdict of the rules in quality/validation.json.")
    planned_at: Moment = Field(description="When the listing was frozen, UTC, ISO 8601.")
    published_at: Moment = Field(description="When this file was written, UTC, ISO 8601.")
    input: str = Field(description="The folder or S3 prefix that was listed.")
    images: int = Field(description="Images planned, each with one record.")
    statuses: dict[str, int] = Field(description="Records by status; every status is there.")
    boxes: dict[str, int] = Field(description="Boxes by label; every class of the artifact is there.")
    min_score: float = Field(description="Boxes with a lower score, 0 to 1, were dropped.")
    max_failed: float = Field(description="Share of images, 0 to 1, that could fail before the run was rejected.")
    strict: list[str] = Field(default=[], description="Rules that only warn by default and reject this run; sorted.")
    warnings: list[str] = Field(
        default=[], description="Rules that are broken and only warn, or that were to reject and could not be judged."
    )
    validation_sha256: str = Field(description="SHA-256 of quality/validation.json, in hex.")
    parts: list[PartEntry] = Field(description="In the plan's order.")
    lineage: Lineage = Field(description="Where the boxes come from.")
    cost: Cost = Field(description="What making the parts took.")


class Latest(VersionedModel):
    """latest.json: where the valid run is that was planned last."""

    run: str = Field(description="The run's name.")
    planned_at: Moment = Field(description="When that run's listing was frozen, UTC, ISO 8601.")
    manifest: str = Field(description="URI of the run's manifest.json.")
    sha256: str = Field(description="SHA-256 of that manifest's bytes, in hex.")


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


ModelT = TypeVar("ModelT", bound=FileModel)


def encode_lines(rows: list[ModelT]) -> bytes:
    """JSON Lines: each row's canonical bytes and a newline."""
    return b"".join(row.canonical() + b"\n" for row in rows)


class OtherSchemaError(ValueError):
    """A line of a newer version of its format: nothing is damaged, and making it again would be wrong."""


def decode_lines(model: type[ModelT], data: bytes) -> list[ModelT]:
    """The inverse of `encode_lines`; raises ValueError that says which line is wrong and why, and of these
    OtherSchemaError for a line of another version."""
    if data and not data.endswith(b"\n"):
        raise ValueError("the last line is cut off")
    rows = []
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            rows.append(read(model, line))
        except ValidationError as error:
            failure = ValueError if other_schema(error) is None else OtherSchemaError
            raise failure(f"line {number}: {summary(error)}") from error
    return rows


def read(model: type[ModelT], data: bytes) -> ModelT:
    """The value that the bytes hold. Fields that are not declared are ignored; a versioned value must say its version.

    Raises ValidationError.
    """
    value = model.model_validate_json(data, extra="ignore")
    if isinstance(value, VersionedModel) and "schema_version" not in value.model_fields_set:
        missing = InitErrorDetails(type="missing", loc=("schema",), input={})
        raise ValidationError.from_exception_data(model.__name__, [missing])
    return value


def parse(model: type[ModelT], data: bytes, where: str, what: str, remedy: str) -> ModelT:
    """The value of a file's bytes; raises UsageError that says `where` it lies, what is wrong, and what to do.

    what: the file's kind, as in "not WHAT"; remedy: what to do, unless the file is of another schema version.
    """
    try:
        return read(model, data)
    except ValidationError as error:
        if other_schema(error) is not None:
            raise UsageError(f"{where}: {summary(error)}") from error
        raise UsageError(f"{where}: not {what}: {summary(error)}; {remedy}") from error


def other_schema(error: ValidationError) -> float | None:
    """The newer version that a value says it has; then its other findings say nothing of use."""
    for finding in error.errors(include_url=False):
        found = finding["input"]
        if finding["loc"] == ("schema",) and isinstance(found, int | float) and found > SCHEMA_VERSION:
            return found
    return None


def summary(error: ValidationError) -> str:
    """A validation error's first finding on one line, without the input that it quotes."""
    newer = other_schema(error)
    if newer is not None:
        return f"schema {newer} is not read here, only schema {SCHEMA_VERSION}; use a newer boxcar"
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(step) for step in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def canonical_json(value: Any) -> bytes:
    """The one encoding of plain data, for digests: compact, sorted keys, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
