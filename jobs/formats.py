"""The formats of a run's files: one pydantic model for each kind of file or line, and its bytes.

Models check types, not values. A file with a score above 1 must be readable, so that the rules (jobs/rules) can judge
it and show it to a person.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails

from detector.runtime.artifact import Baseline
from detector.runtime.tiling import Tiling
from jobs.errors import UsageError

SCHEMA_VERSION = 1
# Raised when unchanged images and an unchanged artifact would give other records than before. 2: the reader of images
# reads more formats and depths, and turns by EXIF alone. 3: a JPEG of at least four times the size at which the
# detector looks is decoded at a fraction of its size. 4: an image that is ok has its `image_quality`.
RECORDS_VERSION = 4
# The version from which on records have `image_quality`, and drift is judged by pixels and by prefix.
QUALITY_SINCE = 4

# Why an image has no boxes. The words are fixed here: a library's message may change with its version, and then the
# records' bytes would change too.
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
    """Base of every model: its values are finite and never change.

    Code that makes a value may give only the fields that are declared. `read` ignores other fields, so that a format
    can grow within its schema version.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    # Fields that `canonical` leaves out where nobody has set them: lines of an older version do not have them.
    later: ClassVar[frozenset[str]] = frozenset()

    def canonical(self) -> bytes:
        """The bytes of this value in a file of lines: compact UTF-8 JSON on one line, keys in the order of the
        fields."""
        return self.model_dump_json(by_alias=True, exclude=set(self.later - self.model_fields_set)).encode()

    def pretty(self) -> bytes:
        """The bytes of this value in a file that people open: indented UTF-8 JSON."""
        return self.model_dump_json(by_alias=True, indent=2).encode() + b"\n"


class VersionedModel(FileModel):
    """Base of the files and lines that other programs read: they carry a version, and another version is refused.

    The refusal is worded by `summary`, after reading has failed: a validator here would make reading records a third
    slower.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema", description="Version of this format.")


# 32-bit integers: they fit into every output format, and every image size fits into them.
Whole = Annotated[int, Field(ge=-(2**31), lt=2**31)]


def _is_moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Moment = Annotated[str, AfterValidator(_is_moment)]


class BoxRecord(FileModel):
    """One detection."""

    label: str = Field(description="One of the artifact's classes.")
    score: float = Field(
        description="How sure the detector is, from 0 to 1 in steps of 0.0001; at least the run's `min_score`."
    )
    x: float = Field(description="Left edge, pixels from the image's left edge, in steps of 1/16.")
    y: float = Field(description="Top edge, pixels from the image's top edge, in steps of 1/16.")
    width: float = Field(description="Pixels, above 0; `x + width` is at most the image's width.")
    height: float = Field(description="Pixels, above 0; `y + height` is at most the image's height.")


class QualityRecord(FileModel):
    """What an image's pixels are like, whatever the detector. Green is the green channel when the longer side has 256
    pixels."""

    sharpness: float = Field(
        description="Variance of the Laplacian of green, in levels squared: low where an image is blurred."
    )
    brightness: float = Field(description="Mean luma, 0 to 255.")
    clipped_dark: float = Field(description="Share of pixels, 0 to 1, with a green of at most 5.")
    clipped_bright: float = Field(description="Share of pixels, 0 to 1, with a green of at least 250.")
    contrast: float = Field(description="Standard deviation of green, in levels.")
    red_green: float = Field(description="Mean of red minus green, -255 to 255.")
    blue_yellow: float = Field(description="Mean of blue minus the mean of red and green, -255 to 255.")
    aspect: float = Field(description="Width divided by height, after the EXIF orientation.")
    perceptual_hash: str = Field(
        pattern="^[0-9a-f]{16}$",
        description="Difference hash of green, 64 bits in hex: near-duplicates differ in at most 6 bits.",
    )


class Record(VersionedModel):
    """One planned image: what was read, and its boxes, in pixels of the image after its EXIF orientation."""

    later = frozenset({"image_quality"})
    run: str = Field(description="The run's name: the first 8 hex digits of its plan's digest.")
    image: str = Field(description="s3://bucket/key, or the absolute path of a file.")
    etag: str | None = Field(
        description="Version of the bytes: S3's ETag, or the MD5 of a file in hex; null for a file that was not read."
    )
    version_id: str | None = Field(description="S3's version id of the bytes; null without versioning.")
    bytes: int = Field(description="Size of the encoded image, in bytes, as planned.")
    width: Whole | None = Field(description="Pixels; null unless the status is ok.")
    height: Whole | None = Field(description="Pixels; null unless the status is ok.")
    status: str = Field(description="ok, or why there are no boxes.", json_schema_extra={"enum": list(STATUSES)})
    error: str | None = Field(
        description="The reason in words; null when the status is ok.",
        json_schema_extra={"enum": list(ERRORS.values())},
    )
    boxes: list[BoxRecord] = Field(description="Best score first; empty unless the status is ok.")
    image_quality: QualityRecord | None = Field(
        default=None,
        description="What the pixels are like; null unless the status is ok, and in records of a version below 4.",
    )


class PlannedImage(FileModel):
    """One line of a plan's part: an image of the listing. plan.json holds the part's digest, and the version of this
    format."""

    key: str = Field(description="Relative to the plan's input.")
    size: int = Field(description="Size of the encoded image, in bytes.")
    etag: str | None = Field(description="S3's ETag; null in a folder.")
    mtime_ns: int | None = Field(description="A file's modification time, nanoseconds since 1970; null on S3.")
    previous: str | None = Field(
        default=None,
        description="Name of the previous run's part that holds the record of this version; null when there is none.",
    )


@dataclass(frozen=True)
class AskedAs:
    """Marks a field that a person chooses for a plan, and says under which name: an option or an argument."""

    name: str


class Filters(FileModel):
    """The filters that select images from the listing. Patterns are shell globs over the key, in which * crosses /."""

    include: Annotated[list[str], AskedAs("--include")] = Field(
        default=[], description="An image must match one of these patterns, if there are any; sorted."
    )
    exclude: Annotated[list[str], AskedAs("--exclude")] = Field(
        default=[], description="An image must match none of these patterns; sorted."
    )
    extensions: Annotated[list[str], AskedAs("--extensions")] = Field(
        default=[],
        description="Extensions of images, in lower case and without the dot; sorted. Or * alone: every object.",
    )
    hidden: Annotated[bool, AskedAs("--hidden")] = Field(
        default=False,
        description="Whether objects are planned whose key has a part that begins with a dot or is __MACOSX.",
    )


class Since(FileModel):
    """The previous run, from which the records of unchanged images are copied."""

    # Plans are compared by the text of --since, not by the run that it names: a latest.json changes with every run.
    given: Annotated[str, AskedAs("--since")] = Field(
        description="What --since named: the OUTPUT of a run, or a latest.json."
    )
    output: str | None = Field(
        default=None, description="The previous run's OUTPUT; null when nothing can be copied from it."
    )
    run: str | None = Field(default=None, description="The previous run's name, or null.")
    profile_sha256: str | None = Field(
        default=None, description="SHA-256 of the previous run's quality/profile.json; null when it has none."
    )
    manifest_sha256: str | None = Field(
        default=None, description="SHA-256 of the previous run's manifest.json, or null."
    )


class PlanPart(FileModel):
    """A slice of the listing."""

    name: str = Field(description="The text part- and at least seven digits.")
    count: int = Field(description="Number of images.")
    sha256: str = Field(description="SHA-256 of plan/NAME-DDDDDDDD.jsonl, whose name has the first 8 digits of it.")


class PlanHead(VersionedModel):
    """The name of a plan."""

    run: str = Field(description="The run's name: the first 8 hex digits of the digest.")
    digest: str = Field(
        description="SHA-256 over the input, inventory, filters, artifact_sha256, min_score, tile, overlap, part_size, "
        "since, redo, limit, records_version and parts of this file."
    )
    planned_at: Moment = Field(description="When the listing was frozen, UTC, ISO 8601; not part of the digest.")


class PlanOptions(FileModel):
    """The options of a plan. With the listing they decide every byte of the records.

    Every field but `model` and those that say how INPUT is read is part of the plan's digest. Fields
    that are marked with `AskedAs` are compared when the same OUTPUT is planned again. To add an option, add a field
    here, with a default value for older plans, and a click option of the same name.
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
    tile: Annotated[int | None, AskedAs("--tile")] = Field(
        default=None, description="Side in pixels of the tiles that the detector looks at as well; null: none."
    )
    overlap: Annotated[float | None, AskedAs("--overlap")] = Field(
        default=None, description="Share of a tile's side that neighbours have in common at least; null without tiles."
    )
    part_size: Annotated[int, AskedAs("--part-size")] = Field(
        description="Number of images in a part; the last part may have fewer."
    )
    since: Since | None = Field(default=None, description="The previous run; null without one.")
    redo: Annotated[list[str], AskedAs("--redo")] = Field(
        default=[], description="Statuses whose records are made again in place of being copied; sorted."
    )

    limit: Annotated[int | None, AskedAs("--limit")] = Field(
        default=None, description="Number of images that were chosen at random, for a trial; null: all."
    )
    request_payer: Annotated[bool, AskedAs("--request-payer")] = Field(
        default=False, description="Whether the reader of INPUT pays for its requests."
    )
    no_sign_request: Annotated[bool, AskedAs("--no-sign-request")] = Field(
        default=False, description="Whether INPUT is read without credentials."
    )

    def asked(self) -> dict[str, Any]:
        """The values that a person chose, by the names under which they are asked for."""
        return _asked(self)

    @property
    def tiling(self) -> Tiling | None:
        """The tiles that the detector looks at as well."""
        return None if self.tile is None else Tiling(self.tile, self.overlap or 0.0)


class Plan(PlanOptions, PlanHead):
    """plan.json: the frozen listing of a run, and everything that decides its records."""

    records_version: int = Field(
        default=1, description="Raised when a newer boxcar makes other records of the same images and artifact."
    )
    images: int = Field(description="Number of planned images.")
    other_files: int = Field(description="Number of listed files whose extension is not that of an image.")
    filtered: int = Field(default=0, description="Number of images that --include, --exclude and --limit left out.")
    hidden: int = Field(
        default=0, description="Number of files and folders left out because of a dot or __MACOSX in their key."
    )
    copies: int = Field(
        default=0, description="Number of planned images whose record may be copied from the previous run."
    )
    parts: list[PlanPart] = Field(description="The parts, in order.")


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
    """stats/NAME.json: how a part was made. This is not in the part itself, whose bytes must not depend on time or
    place. plan.json, which is read first, holds the version of this format."""

    run: str = Field(description="The run that the part belongs to.")
    part: str = Field(description="The part's name.")
    sha256: str = Field(description="SHA-256 of boxes/NAME.jsonl, in hex.")
    images: int = Field(description="Number of records in the part.")
    copied: int = Field(description="Number of records that were copied from the previous run.")
    statuses: dict[str, int] = Field(description="Number of records of each status that occurs.")
    boxes: int = Field(description="Number of boxes in the part.")
    bytes_read: int = Field(description="Bytes of images read from the input.")
    started_at: Moment = Field(description="When work on its first image began, UTC, ISO 8601.")
    finished_at: Moment = Field(description="When its records were written, UTC, ISO 8601.")
    cpu_seconds: float = Field(description="CPU time of the process since its previous part, in seconds.")
    seconds: float = Field(description="Wall time since the previous part of the process, in seconds.")
    step_seconds: dict[str, float] = Field(description="Wall time of each step, added up over the images, in seconds.")
    onnxruntime: str = Field(description="Version of ONNX Runtime.")
    device: str = Field(default="cpu", description="Where the detector ran: cpu or cuda.")


class RuleResult(FileModel):
    """One rule's verdict over the whole run."""

    rule: str = Field(description="The rule's name.")
    sentence: str = Field(description="What the rule demands.")
    severity: Literal["reject", "warn"] = Field(description="What happens to the run when the rule is broken.")
    verdict: Literal["passed", "warned", "rejected", "skipped"] = Field(
        description="The verdict; skipped when there is too little data to judge, and `observed` says so."
    )
    checked: int = Field(
        description="Number of images, records or boxes that were checked; for drift, 1 for the run and 1 a prefix."
    )
    broken: int = Field(description="Number of findings; a box that is outside on two sides counts twice.")
    observed: str = Field(description="What was found, as a text for people.")
    examples: list[str] = Field(description="URIs of images that break the rule; at most 20.")


class Validation(VersionedModel):
    """quality/validation.json: the verdict of every rule."""

    run: str = Field(description="The run's name.")
    status: Literal["valid", "rejected"] = Field(description="rejected when any rule's verdict is rejected.")
    max_failed: float = Field(description="Share of images, 0 to 1, that may fail.")
    strict: list[str] = Field(
        default=[], description="Rules that reject this run although they only warn by default; sorted."
    )
    rules: list[RuleResult] = Field(description="One result for each rule.")


class RunProfile(VersionedModel):
    """quality/profile.json: counts of the run's boxes and pixels, from which the next run's drift is measured."""

    run: str = Field(description="The run's name.")
    prefix_depth: int = Field(description="Number of folders below the input that make a prefix; 0: none.")
    whole: Baseline = Field(description="The whole run.")
    prefixes: dict[str, Baseline] = Field(
        description="Each prefix, relative to the input; empty when there are more than 1,000."
    )


class PartEntry(FileModel):
    """A part as the manifest lists it."""

    key: str = Field(pattern=r"^boxes/part-\d{7,}\.jsonl$", description="Key relative to the manifest's folder.")
    count: int = Field(description="Number of records.")
    bytes: int = Field(description="Size of the file, in bytes.")
    sha256: str = Field(description="SHA-256 of the file, in hex.")


class Lineage(FileModel):
    """The origin of a run's boxes."""

    plan_digest: str = Field(description="SHA-256 of the plan's content.")
    plan_sha256: str | None = Field(
        default=None, description="SHA-256 of plan.json; null in runs of a boxcar before version 0.2."
    )
    artifact_name: str = Field(description="The detector's name.")
    artifact_sha256: str = Field(description="SHA-256 of model/model.json, in hex.")
    onnx_sha256: str = Field(description="SHA-256 of model/model.onnx, in hex.")
    git_revision: str | None = Field(
        description="Git revision of the code that built the artifact; null when it is not known."
    )
    data_digest: str | None = Field(
        description="Digest of the data that the artifact was trained on; null when it is not known."
    )
    params_digest: str | None = Field(
        description="Digest of the settings that the artifact was trained with; null when it is not known."
    )
    boxcar: str | None = Field(description="Version of the package that published the run; null when not installed.")
    onnxruntime: list[str] = Field(description="Versions of ONNX Runtime that made the parts.")
    devices: list[str] = Field(default=["cpu"], description="Where the detector ran: cpu, cuda, or both.")


class Cost(FileModel):
    """The cost of making the parts, without work that was lost when a worker was killed."""

    cpu_seconds: float = Field(description="CPU time over all workers, in seconds.")
    bytes_read: int = Field(description="Bytes of images read from the input.")


class Manifest(VersionedModel):
    """manifest.json: a run, its parts with their digests, and its verdict. With this file a run is published."""

    run: str = Field(
        pattern="^[0-9a-f]{8}$", description="The run's name: the first 8 hex digits of its plan's digest."
    )
    status: Literal["valid", "rejected"] = Field(description="The verdict of the rules in quality/validation.json.")
    planned_at: Moment = Field(description="When the listing was frozen, UTC, ISO 8601.")
    published_at: Moment = Field(description="When this file was written, UTC, ISO 8601.")
    input: str = Field(description="The folder or S3 prefix that was listed.")
    images: int = Field(description="Number of planned images; each has one record.")
    other_files: int = Field(
        default=0, description="Number of listed files that were not planned because of their extension."
    )
    filtered: int = Field(default=0, description="Number of images that --include, --exclude and --limit left out.")
    hidden: int = Field(
        default=0, description="Number of files and folders left out because of a dot or __MACOSX in their key."
    )
    statuses: dict[str, int] = Field(description="Number of records of each status, with every status.")
    boxes: dict[str, int] = Field(description="Number of boxes of each label, with every class of the artifact.")
    min_score: float = Field(description="Boxes with a lower score, 0 to 1, were dropped.")
    tile: int | None = Field(
        default=None,
        description="Side in pixels of the tiles that the detector looked at as well; null: none. What the artifact "
        "states was measured without tiles.",
    )
    overlap: float | None = Field(
        default=None, description="Share of a tile's side that neighbours have in common at least; null without tiles."
    )
    max_failed: float = Field(
        description="Share of images, 0 to 1, that may fail; with more failures the run is rejected."
    )
    strict: list[str] = Field(
        default=[], description="Rules that reject this run although they only warn by default; sorted."
    )
    prefix_depth: int = Field(
        default=1, description="Number of folders below the input by which drift was judged too; 0: by none."
    )
    warnings: list[str] = Field(
        default=[],
        description="Rules that are broken and only warn, and rules that should reject but were not judged.",
    )
    validation_sha256: str = Field(description="SHA-256 of quality/validation.json, in hex.")
    profile_sha256: str | None = Field(
        default=None, description="SHA-256 of quality/profile.json, in hex; null in runs of a boxcar that wrote none."
    )
    parts: list[PartEntry] = Field(description="The parts, in the plan's order.")
    lineage: Lineage = Field(description="What made the boxes.")
    cost: Cost = Field(description="What it cost to make the parts.")


class Latest(VersionedModel):
    """latest.json: the valid run that was planned last."""

    run: str = Field(description="The run's name.")
    planned_at: Moment = Field(description="When that run's listing was frozen, UTC, ISO 8601.")
    manifest: str = Field(description="URI of the run's manifest.json.")
    sha256: str = Field(description="SHA-256 of that manifest's bytes, in hex.")


class Stratum(FileModel):
    """A stratum of a sample: images of which each was drawn with the same probability."""

    name: str = Field(description="The stratum's name.")
    images: int = Field(description="Number of images from which was drawn.")
    drawn: int = Field(description="Number of drawn images.")


class DrawnImage(FileModel):
    """An image of a sample."""

    image: str = Field(description="s3://bucket/key, or the absolute path of a file.")
    etag: str | None = Field(description="Version of the bytes, as in the image's record.")
    stratum: str = Field(description="The name of its stratum.")
    probability: float = Field(
        description="Inclusion probability, above 0 and at most 1: the share of its stratum's images that was drawn."
    )
    left_out: str | None = Field(
        description="The status with which copying the image failed, so that it is not among the labels; else null.",
        json_schema_extra={"enum": [None, *FAILURES]},
    )


class BoxStratum(FileModel):
    """A stratum of a sample of boxes: those of one label on one side of the operating score."""

    name: str = Field(description="The stratum's name.")
    label: str = Field(description="The label of its boxes.")
    low: float = Field(description="The lowest score of its boxes.")
    high: float | None = Field(description="Its boxes have scores below this one; null: there is no such limit.")
    boxes: int = Field(description="Number of boxes from which was drawn.")
    drawn: int = Field(description="Number of drawn boxes.")


class DrawnBox(FileModel):
    """A box of a sample."""

    image: str = Field(description="s3://bucket/key, or the absolute path of a file.")
    etag: str | None = Field(description="Version of the bytes, as in the image's record.")
    number: int = Field(ge=0, description="The place of the box in the image's record, from 0.")
    box: BoxRecord = Field(description="The box, as in the record.")
    stratum: str = Field(description="The name of its stratum.")
    probability: float = Field(
        description="Inclusion probability, above 0 and at most 1: the share of its stratum's boxes that was drawn."
    )
    left_out: str | None = Field(
        description="The status with which reading the image failed, so that nobody could look at the box; else null.",
        json_schema_extra={"enum": [None, *FAILURES]},
    )


class EarlierSample(FileModel):
    """An earlier round, whose images are not drawn again."""

    run: str = Field(description="The name of the run that it was drawn from.")
    sha256: str = Field(description="SHA-256 of its sample.json, in hex.")


class Sample(VersionedModel):
    """sample.json: images, and for an audit also boxes, that were drawn from a published run, and how."""

    run: str = Field(description="The run's name.")
    manifest_sha256: str = Field(description="SHA-256 of the run's manifest.json, in hex.")
    input: str = Field(description="The folder or S3 prefix that the run listed.")
    by: str = Field(
        description="How images were divided into strata.",
        json_schema_extra={"enum": ["random", "label", "doubtful", "drift"]},
    )
    reference: str | None = Field(
        default=None,
        description="SHA-256 of the manifest.json of the run that drift was measured from; null: the artifact's "
        "baseline, or another way to draw.",
    )
    seed: int = Field(description="Another seed draws other images.")
    count: int = Field(description="Number of images that was asked for.")
    population: int = Field(description="Number of the run's images with status ok.")
    excluded: int = Field(description="Number of these that could not be drawn, because an earlier round has them.")
    for_estimates: bool = Field(
        description="Whether every image of the population could be drawn. Otherwise nothing can be estimated about "
        "all of them from this sample alone."
    )
    strata: list[Stratum] = Field(
        description="The strata, by name; together the population without the excluded images."
    )
    images: list[DrawnImage] = Field(description="The drawn images, by URI.")
    earlier: list[EarlierSample] = Field(description="The earlier rounds, in the order in which they were given.")
    labels: list[str] = Field(
        default=[], description="The labels that an audit is about, in the artifact's order; empty for another sample."
    )
    box_strata: list[BoxStratum] = Field(
        default=[], description="The strata of an audit's boxes: together all boxes of these labels."
    )
    boxes: list[DrawnBox] = Field(
        default=[], description="The drawn boxes of an audit, in an order of chance, in which people look at them."
    )


VERDICTS = ("right", "wrong_label", "badly_placed", "not_an_object", "cannot_tell")


class BoxVerdict(FileModel):
    """What a person says about a box."""

    image: str = Field(description="s3://bucket/key, or the absolute path of a file.")
    number: Annotated[int, Field(ge=0)] = Field(description="The place of the box in the image's record, from 0.")
    verdict: Literal["right", "wrong_label", "badly_placed", "not_an_object", "cannot_tell"] = Field(
        description="right: it surrounds one object of its label; wrong_label: an object of another label; "
        "badly_placed: it covers less than half of the object, or is more than twice as large, or has several; "
        "not_an_object: nothing, or an object that a better box has."
    )
    label: str | None = Field(
        default=None, description="For wrong_label: the object's label; null when it is none of the sample's labels."
    )


class MissedObject(FileModel):
    """An object without a right box, as a point or as a box, in the image after its EXIF orientation."""

    label: str = Field(description="One of the sample's labels.")
    x: float = Field(description="The point, or the left edge of the box: pixels from the image's left edge.")
    y: float = Field(description="The point, or the top edge of the box: pixels from the image's top edge.")
    width: Annotated[float, Field(ge=0)] = Field(default=0, description="Pixels; 0: a point.")
    height: Annotated[float, Field(ge=0)] = Field(default=0, description="Pixels; 0: a point.")
    sure: bool = Field(default=True, description="False where the person cannot tell whether it is such an object.")


class ImageVerdict(FileModel):
    """The objects that a person misses in an image."""

    image: str = Field(description="s3://bucket/key, or the absolute path of a file.")
    missed: list[MissedObject] = Field(description="Objects of the sample's labels that have no right box.")
    cannot_tell: bool = Field(default=False, description="The person cannot tell what is missing.")


class Verdicts(VersionedModel):
    """verdicts-NAME.json, as the page of `boxcar audit draw` saves it: what one person says about a sample."""

    reviewer: str = Field(description="Who looked.")
    saved_at: Moment = Field(description="When the file was saved, UTC, ISO 8601.")
    sample: Sample = Field(description="What was looked at.")
    boxes: list[BoxVerdict] = Field(description="The drawn boxes, and those of the drawn images, as far as judged.")
    images: list[ImageVerdict] = Field(description="The drawn images, as far as judged.")


class Reviewer(FileModel):
    """A person whose verdicts an audit uses."""

    name: str = Field(description="As in the verdicts' file.")
    sha256: str = Field(description="SHA-256 of that file, in hex.")
    boxes: int = Field(description="Number of boxes that the person judged.")
    images: int = Field(description="Number of whole images that the person judged.")


class Agreement(FileModel):
    """How far several people agree on boxes."""

    boxes: int = Field(description="Number of boxes that at least two people judged.")
    share: float = Field(description="The share of equal verdicts, among all pairs of people who judged a box, 0 to 1.")
    alpha: float | None = Field(
        description="Krippendorff's alpha: 1 is full agreement, 0 that of chance; null when all verdicts are the same."
    )


class PrecisionStatement(FileModel):
    """The share of boxes that are right: it lies from `low` to `high`, with the audit's confidence."""

    label: str | None = Field(description="The label; null: all labels of the audit together.")
    min_score: float = Field(description="Boxes with at least this score, 0 to 1, are meant.")
    boxes: int = Field(description="Number of such boxes in the run.")
    drawn: int = Field(description="Number of those that were drawn.")
    verdicts: dict[str, int] = Field(
        description="How many of the drawn boxes have each verdict after disagreement is settled, and how many nobody "
        "could look at or has judged (not_judged)."
    )
    low: float = Field(description="The lower limit, 0 to 1: boxes without a clear verdict count as wrong.")
    high: float = Field(description="The upper limit, 0 to 1: boxes without a clear verdict count as right.")


class ThresholdStatement(FileModel):
    """The score from which on at least `precision` of the boxes are right, with the audit's confidence."""

    label: str | None = Field(description="The label; null: all labels of the audit together.")
    precision: float = Field(description="The precision that was asked for, between 0 and 1.")
    score: float | None = Field(description="The score, 0 to 1; null: the sample shows none.")
    boxes: int = Field(description="Number of boxes in the run with at least this score; 0 when none is shown.")


class MissedStatement(FileModel):
    """The share of images in which at least one object was missed."""

    label: str | None = Field(description="The label; null: all labels of the audit together.")
    images: int = Field(description="Number of the run's images with status ok.")
    drawn: int = Field(description="Number of those that were drawn.")
    with_missed: int = Field(description="Number of drawn images in which an object was missed.")
    objects: int = Field(description="Number of objects that were missed in them.")
    unclear: int = Field(description="Number of drawn images of which nobody could tell.")
    low: float = Field(description="The lower limit of the share, 0 to 1: unclear images count as without.")
    high: float = Field(description="The upper limit of the share, 0 to 1: unclear images count as with.")


class CountStatement(FileModel):
    """The number of objects in all images with status ok."""

    label: str | None = Field(description="The label; null: all labels of the audit together.")
    detected: int = Field(description="Number of boxes that the run has.")
    drawn: int = Field(description="Number of whole images that were looked at and are clear enough to count.")
    with_errors: int = Field(description="Number of those with a missed object or a box that is not right.")
    estimate: float | None = Field(description="The corrected number of objects; null when nothing is said.")
    low: float | None = Field(description="The lower limit of the number, or null.")
    high: float | None = Field(description="The upper limit of the number, or null.")
    reason: str | None = Field(description="Why nothing is said about the number; null when something is.")


class Audit(VersionedModel):
    """quality/audit.json: what people's verdicts about a sample say about the whole run."""

    run: str = Field(description="The run's name.")
    manifest_sha256: str = Field(description="SHA-256 of the manifest.json that was audited, in hex.")
    sample_sha256: str = Field(description="SHA-256 of the sample.json that people looked at, in hex.")
    seed: int = Field(description="The sample's seed.")
    labels: list[str] = Field(description="The labels that the audit is about.")
    status: Literal["accepted", "rejected"] = Field(
        description="rejected when the precision of all boxes is not shown to be at least `reject_below`."
    )
    reject_below: float | None = Field(description="The precision that was demanded, or null.")
    confidence: float = Field(description="Each statement holds with this confidence by itself.")
    reviewers: list[Reviewer] = Field(description="Who looked.")
    agreement: Agreement | None = Field(description="How far they agree; null when no box was judged twice.")
    precision: list[PrecisionStatement] = Field(description="How many boxes are right.")
    thresholds: list[ThresholdStatement] = Field(description="From which score on the boxes are precise enough.")
    missed: list[MissedStatement] = Field(description="In how many images objects were missed.")
    counts: list[CountStatement] = Field(description="How many objects there are.")


def sha256(data: bytes) -> str:
    """The SHA-256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


ModelT = TypeVar("ModelT", bound=FileModel)


def encode_lines(rows: list[ModelT]) -> bytes:
    """JSON Lines: each row's canonical bytes and a newline."""
    return b"".join(row.canonical() + b"\n" for row in rows)


class OtherSchemaError(ValueError):
    """A line has a newer version of its format. It is not damaged, so making it again would be wrong."""


def decode_lines(model: type[ModelT], data: bytes) -> list[ModelT]:
    """The values of a file of lines, as `encode_lines` wrote it.

    Raises ValueError that says which line is wrong and why; OtherSchemaError, a kind of it, for a line of a newer
    version.
    """
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
    """The value that a file holds; raises UsageError that says `where` the file lies, what is wrong, and what to do.

    what: the kind of file, as in "not WHAT"; remedy: what to do, unless the file has another schema version.
    """
    try:
        return read(model, data)
    except ValidationError as error:
        if other_schema(error) is not None:
            raise UsageError(f"{where}: {summary(error)}") from error
        raise UsageError(f"{where}: not {what}: {summary(error)}; {remedy}") from error


def other_schema(error: ValidationError) -> float | None:
    """The newer version that a value has, if it has one; its other errors are meaningless then."""
    for finding in error.errors(include_url=False):
        found = finding["input"]
        if finding["loc"] == ("schema",) and isinstance(found, int | float) and found > SCHEMA_VERSION:
            return found
    return None


def summary(error: ValidationError) -> str:
    """The first finding of a validation error on one line, without the input that it quotes."""
    newer = other_schema(error)
    if newer is not None:
        return f"schema {newer} is not read here, only schema {SCHEMA_VERSION}; use a newer boxcar"
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(step) for step in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def canonical_json(value: Any) -> bytes:
    """The bytes of plain data for digests: compact UTF-8 JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
