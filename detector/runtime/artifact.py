"""The detector artifact: a folder with `model.onnx` and `model.json`, which are enough to use a detector.

The description says how an image becomes the graph's input (`preprocessing`), how its outputs are read (`decoding`),
and what happens then: calibration, rounding, clipping, threshold and suppression.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, ValidationError, model_validator
from pydantic_core import ErrorDetails

from detector.common.digests import sha256_of
from detector.common.errors import ArtifactError
from detector.runtime.baseline import BINS
from detector.runtime.kinds import Decoding
from detector.runtime.kinds.rcnn import ProposalSettings, RcnnDecoding
from detector.runtime.label_run import LabelRun
from detector.runtime.postprocess import Columns
from detector.runtime.preprocess import MOST_SIDE, Preprocessing, own_preprocessing

MODEL_FILE, DESCRIPTION_FILE = "model.onnx", "model.json"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Calibration(_Frozen):
    """Platt's calibration (1999), fitted on val: score = sigmoid(slope * logit(output) + offset).

    Of the detections with score s, about the part s is right at IoU .5.
    """

    slope: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    offset: FiniteFloat = 0.0

    @property
    def line(self) -> tuple[float, float] | None:
        """Slope and offset; None if scores stay as they are."""
        return None if (self.slope, self.offset) == (1.0, 0.0) else (self.slope, self.offset)


# One count for each tenth of [0, 1].
Counts = Annotated[list[NonNegativeInt], Field(min_length=10, max_length=10)]


class PixelBaseline(_Frozen):
    """Counts of what the pixels of images are like; see `pixel_counts.PixelCounts`."""

    images: int = Field(ge=0, description="images that were counted")
    histograms: dict[str, list[NonNegativeInt]] = Field(
        description="number of images in each bin of a number; `pixel_counts.EDGES` has the edges"
    )
    sampled: int = Field(ge=0, description="images of a sample whose perceptual hashes were compared")
    near_duplicates: int = Field(ge=0, description="those of them that have a near-duplicate in the sample")

    @model_validator(mode="after")
    def _counts_fit_together(self) -> Self:
        for name, counts in self.histograms.items():
            if sum(counts) != self.images:
                raise ValueError(f"histograms.{name} counts {sum(counts):,} images, not {self.images:,}")
        if not self.near_duplicates <= self.sampled <= self.images:
            raise ValueError(
                f"near_duplicates ({self.near_duplicates:,}) is above sampled ({self.sampled:,}), or that is above "
                f"images ({self.images:,})"
            )
        return self


class Baseline(_Frozen):
    """Counts of the detections on the test images, to compare with those of a run; see `baseline.Histograms`."""

    images: int = Field(ge=0, description="images in the test split")
    boxes: dict[str, Counts] = Field(
        description="detections by class, from `least_score` on: ten counts each, of scores 0 to .1, .1 to .2, ..."
    )
    sizes: list[Counts] = Field(
        max_length=10,
        description="the same detections, a row for each tenth of the score: ten counts, of the square root of the "
        "box's share of its image, 0 to .1, .1 to .2, ...",
    )
    pixels: PixelBaseline | None = Field(default=None, description="of the same images; null: not measured")


class Artifact(_Frozen):
    """The content of `model.json`. What was measured may be missing: `metrics` and `class_ap` are empty then."""

    schema_version: Literal[5] = 5
    name: str = Field(description="the member of the detector family, or the name that an imported model was given")
    backbone: str | None = Field(default=None, description="the network that makes the features; null: not known")
    classes: tuple[str, ...] = Field(
        min_length=1, description="labels, in the order of the graph's outputs unless `graph_classes` says otherwise"
    )
    graph_classes: tuple[str | None, ...] | None = Field(
        default=None,
        description="the label of each output of the graph, one of `classes`; null: the output is dropped before "
        "suppression",
    )
    preprocessing: Preprocessing
    decoding: Decoding
    nms_threshold: float | None = Field(
        gt=0, le=1, description="IoU above which the lower-scored box of one label is dropped; null: the graph does it"
    )
    max_detections: int = Field(ge=1, description="detections an image at most")
    calibration: Calibration = Field(
        default=Calibration(), description="from the graph's scores to those of the detections"
    )
    operating_score: float = Field(
        ge=0, le=1, description="the default threshold; if measured, the score with the best mean F1 on val"
    )
    class_scores: dict[str, float] = Field(
        default={},
        description="each class's own score with the best F1 on val; the fewer objects it has there, the more those of "
        "all classes count",
    )
    least_score: float = Field(
        default=0.0, ge=0, le=1, description="detections below were not measured: `--min-score` to repeat it"
    )
    metrics: dict[str, float] = Field(default={}, description="measured with this very graph on the test split")
    class_ap: dict[str, float] = Field(
        default={}, description="average precision at IoU .5, 11-point, on test; classes with objects"
    )
    baseline: Baseline | None = Field(default=None, description="null: not measured")
    onnx_sha256: str = Field(description="of model.onnx")
    git_revision: str | None = Field(default=None, description="of the code that made it; null outside git")
    data_digest: str | None = Field(
        default=None, description="sha256 over the annotation files and all images; null: not known"
    )
    params_digest: str | None = Field(default=None, description="sha256 of params.yaml's content; null: not known")
    label_runs: tuple[LabelRun, ...] = Field(
        default=(), description="the published runs whose boxes were labels in the training"
    )

    @property
    def most_overlap(self) -> float:
        """IoU above which no two boxes of one label are left; 1 where the graph suppresses by itself."""
        return 1.0 if self.nms_threshold is None else self.nms_threshold

    @property
    def proposals(self) -> ProposalSettings | None:
        """The search that makes the boxes for the graph; None if the graph makes its own."""
        return self.decoding.proposals if isinstance(self.decoding, RcnnDecoding) else None

    def columns(self) -> Columns | None:
        """Return which of the graph's outputs count, and the label of each; None if output i has label i."""
        if self.graph_classes is None:
            return None
        kept = [number for number, name in enumerate(self.graph_classes) if name is not None]
        labels = [self.classes.index(str(self.graph_classes[number])) for number in kept]
        return Columns(len(self.graph_classes), np.array(kept, np.int64), np.array(labels, np.int64))

    @model_validator(mode="after")
    def _labels_fit_together(self) -> Self:
        for name in (self.name, *self.classes):
            if not name.strip() or not name.isprintable():
                raise ValueError(f"{name!r} is no name: it is empty, or has characters that cannot be shown")
        if self.graph_classes is not None and not any(self.graph_classes):
            raise ValueError("graph_classes drops every output of the graph")
        if self.baseline is not None and self.baseline.images and len(self.baseline.sizes) != BINS:
            raise ValueError(f"baseline.sizes has {len(self.baseline.sizes)} rows, not {BINS}")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes has a name twice; give two outputs one label with graph_classes")
        unknown = {name for name in self.graph_classes or () if name is not None and name not in self.classes}
        if unknown:
            raise ValueError(f"graph_classes names {min(unknown)!r}, which is not one of the classes")
        return self

    def boxes_digest(self) -> str:
        """Return the SHA-256 of everything that decides the boxes of an image above a threshold."""
        deciding = {
            "classes", "graph_classes", "preprocessing", "decoding", "nms_threshold", "max_detections", "calibration",
            "onnx_sha256",
        }  # fmt: skip
        content = json.dumps(self.model_dump(mode="json", include=deciding), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def parse_artifact(data: bytes, where: str) -> Artifact:
    """Return the description that the bytes hold, of schema 4 or 5; raises ArtifactError that begins with `where`."""
    try:
        content = json.loads(data)
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version not in (4, 5):
            raise ArtifactError(f"{where} has schema_version {version!r}; this release reads versions 4 and 5")
        return Artifact.model_validate(_from_version_4(content) if version == 4 else content)
    except ValidationError as error:
        first = error.errors()[0]
        raise ArtifactError(": ".join(filter(None, (where, place_of(first), first["msg"])))) from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{where} is not JSON: {error}") from error


def place_of(error: ErrorDetails) -> str:
    """Return which value of a description is wrong, as in preprocessing.width; "" if several do not agree."""
    steps = [str(step) for step in error["loc"]]
    if steps[:1] == ["decoding"]:
        # pydantic names the kind whose settings it checked, which is no step in the file.
        steps[1:2] = ["kind"] if error["type"].startswith("union_tag") else []
    return ".".join(steps)


def _from_version_4(content: dict[str, Any]) -> dict[str, Any]:
    """Return a description of schema 4, which knew our own graphs only, as one of schema 5."""
    renewed = {name: value for name, value in content.items() if name not in ("image_size", "proposals")}
    size = content.get("image_size")
    preprocessing = own_preprocessing(size).model_dump() if isinstance(size, int) and 32 <= size <= MOST_SIDE else None
    return renewed | {
        "schema_version": 5,
        "preprocessing": preprocessing,
        "decoding": {"kind": "rcnn", "proposals": content.get("proposals")},
    }


def load_artifact(folder: Path, file: str = DESCRIPTION_FILE) -> Artifact:
    """Read `folder/model.json` (file: another name of it) and check `folder/model.onnx` against it.

    Raises ArtifactError if a file is missing, the description is not valid, or the digest differs.
    """
    description, model = folder / file, folder / MODEL_FILE
    for path in (description, model):
        if not path.is_file():
            raise ArtifactError(f"{path} is missing: a detector artifact is a folder with model.onnx and model.json")
    artifact = parse_artifact(description.read_bytes(), str(description))
    digest = sha256_of(model)
    if digest != artifact.onnx_sha256:
        raise ArtifactError(
            f"{model} has sha256 {digest}, but {description} was written for {artifact.onnx_sha256}: "
            "copy both files of one export"
        )
    return artifact


def save_artifact(artifact: Artifact, folder: Path, file: str = DESCRIPTION_FILE) -> None:
    """Write `folder/model.json` (file: another name of it) for the `model.onnx` whose digest is in `onnx_sha256`."""
    text = json.dumps(artifact.model_dump(mode="json"), indent=2, ensure_ascii=False)
    rows = re.sub(r"\[[\s\d,]+\]", lambda found: " ".join(found[0].split()), text)  # a row of counts stays on one line
    (folder / file).write_text(rows + "\n", "utf-8")
