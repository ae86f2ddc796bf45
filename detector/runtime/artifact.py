"""The detector artifact: a folder with `model.onnx` and `model.json`, which are enough to use a detector.

The graph's inputs are `image`, float32 (1, 3, H, W) as `runtime.images.normalise` returns it, and, if `proposals` is
set, `proposals`, float32 (N, 4) xyxy in the resized image. Its outputs are `scores`, float32 (N, C), probabilities of
the C classes without the background, before `calibration`, and `boxes`, float32 (N, C, 4) xyxy in the resized image. H
and W are multiples of 32, and N may be 0.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from detector.common.digests import sha256_of
from detector.common.errors import ArtifactError

MODEL_FILE, DESCRIPTION_FILE = "model.onnx", "model.json"
# The artifact in the package, for the 20 classes of PASCAL VOC; README.md beside it is its model card.
SHIPPED = Path(__file__).parents[1] / "artifacts" / "voc20"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProposalSettings(_Frozen):
    """Settings of the search that makes the boxes for the network."""

    method: Literal["selective_search", "sliding_window"]
    mode: Literal["fast", "quality"] = Field(description="of Selective Search")
    max_boxes: int = Field(ge=1, description="proposals an image at most, best first")
    batch: int | None = Field(ge=1, description="proposals in one call of the graph at most; null: all at once")


class Calibration(_Frozen):
    """Platt's calibration (1999), fitted on val: score = sigmoid(slope * logit(output) + offset).

    Of the detections with score s, about the part s is right at IoU .5.
    """

    slope: float = Field(default=1.0, gt=0)
    offset: float = 0.0


# One count for each tenth of [0, 1].
Counts = Annotated[list[NonNegativeInt], Field(min_length=10, max_length=10)]


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


class Artifact(_Frozen):
    """The content of `model.json`."""

    schema_version: Literal[4] = 4
    name: str = Field(description="the member of the detector family, as `model.name` in params.yaml")
    backbone: str = Field(description="the network that makes the features")
    classes: tuple[str, ...] = Field(min_length=1, description="labels, in the order of the graph's outputs")
    image_size: int = Field(ge=32, description="pixels of the longer side after resizing")
    proposals: ProposalSettings | None = Field(description="null where the graph makes its own")
    nms_threshold: float = Field(gt=0, le=1, description="IoU above which the lower-scored box of one label is dropped")
    max_detections: int = Field(ge=1, description="detections an image at most")
    calibration: Calibration = Field(description="from the graph's scores to those of the detections")
    operating_score: float = Field(ge=0, le=1, description="score with the best mean F1 on val: the default threshold")
    class_scores: dict[str, float] = Field(description="each class's own score with the best F1 on val")
    least_score: float = Field(ge=0, le=1, description="detections below were not measured: `--min-score` to repeat it")
    metrics: dict[str, float] = Field(description="measured with this very graph on the test split")
    class_ap: dict[str, float] = Field(
        description="average precision at IoU .5, 11-point, on test; classes with objects"
    )
    baseline: Baseline
    onnx_sha256: str = Field(description="of model.onnx")
    git_revision: str | None = Field(description="of the code that made it; null outside git")
    data_digest: str = Field(description="sha256 over the annotation files and all images")
    params_digest: str = Field(description="sha256 of params.yaml's content")


def load_artifact(folder: Path, file: str = DESCRIPTION_FILE) -> Artifact:
    """Read `folder/model.json` (file: another name of it) and check `folder/model.onnx` against it.

    Raises ArtifactError if a file is missing, the description is not valid, or the digest differs.
    """
    description, model = folder / file, folder / MODEL_FILE
    for path in (description, model):
        if not path.is_file():
            raise ArtifactError(f"{path} is missing: a detector artifact is a folder with model.onnx and model.json")
    try:
        content = json.loads(description.read_text("utf-8"))
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != 4:
            raise ArtifactError(f"{description} has schema_version {version!r}; this release reads version 4")
        artifact = Artifact.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ArtifactError(f"{description}: {where}: {first['msg']}") from error
    except ValueError as error:
        raise ArtifactError(f"{description} is not JSON: {error}") from error
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
