"""Reads `params.yaml` as frozen models, one for each section; an unknown or missing key is an error."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from detector.common.errors import ParamsError
from detector.data.settings import FetchSettings

# Pixels of an image's longer side. Below 32 the coarsest map is empty; above 4,096 no batch fits in memory.
Side = Annotated[int, Field(ge=32, le=4096)]
# The most proposals that a region proposal network makes for one image.
RPN_PROPOSALS = 1000


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProposeSettings(_Frozen):
    """Settings of the stage `propose`."""

    mode: Literal["fast", "quality"] = Field(description="mode of Selective Search")
    max_boxes: int = Field(ge=1, description="the number of proposals stored for each image, best first")


class ModelSettings(_Frozen):
    """Settings of the network, which `train` builds and the artifact describes."""

    name: Literal["single_object", "sliding_window", "rcnn", "fast_rcnn", "faster_rcnn", "cascade_rcnn"]
    # The names are those of detector.model.backbones, which is not imported here because it needs torch.
    backbone: Literal[
        "alexnet", "vgg16", "vgg19", "googlenet", "inception_v3", "inception_v4", "resnet18", "resnet50", "resnet101",
        "resnet152", "efficientnet_lite0", "yolox_nano",
    ]  # fmt: skip
    start_from: str = Field(
        description='the first weights: "imagenet" or a file, of the backbone; those of an artifact, as "voc20", a '
        'folder, s3:// or REPO:REV; or "none"'
    )
    start_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(
        default=None, description="digest of that file, or of the artifact's weights.safetensors"
    )
    image_size: Side = Field(description="pixels of the longer side in use")
    crop_size: int = Field(
        default=128,
        ge=32,
        le=1024,
        multiple_of=32,
        description="pixels of a warped proposal's side, for members that warp",
    )
    head: Literal["softmax", "svm", "light"] = Field(
        default="softmax",
        description="svm: for rcnn, fitted after training; light: for fast_rcnn, faster_rcnn and cascade_rcnn, two "
        "thirds of the time",
    )
    pyramid_channels: int = Field(ge=1)
    hidden: int = Field(ge=1, description="width of the head's hidden layers: one if light, else two")
    dropout: float = Field(ge=0, lt=1, description="dropout behind the first of these layers, in training")

    @model_validator(mode="after")
    def _heads_belong_to_members(self) -> Self:
        members = {"svm": ("rcnn",), "light": ("fast_rcnn", "faster_rcnn", "cascade_rcnn")}.get(self.head)
        if members and self.name not in members:
            raise ValueError(
                f"head {self.head} is for {', '.join(members)}, but name is {self.name}: set head to softmax"
            )
        return self

    @model_validator(mode="after")
    def _digest_belongs_to_a_file(self) -> Self:
        if self.start_sha256 is not None and self.start_from in ("imagenet", "none"):
            raise ValueError(f"start_sha256 is for a file, but start_from is {self.start_from}: set it to null")
        return self


class TrainSettings(_Frozen):
    """Settings of the stage `train`."""

    seed: int = Field(ge=0, lt=2**32)
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "bf16", "fp32"] = Field(
        description="auto is bf16 if the processor computes it, else fp32; bf16 is autocast"
    )
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    image_sizes: tuple[Side, ...] = Field(min_length=1, description="longer sides, one drawn for each batch")
    learning_rate: float = Field(gt=0, description="AdamW's, at the peak of its one cycle")
    backbone_rate: float = Field(gt=0, description="the backbone's learning rate as a part of it")
    start_rate: float = Field(
        default=1.0,
        gt=0,
        description="the learning rate of weights that came from an artifact, as a part of the others'",
    )
    weight_decay: float = Field(ge=0)
    average: float = Field(ge=0, lt=1, description="decay of the moving average of the weights; 0 means no average")
    frozen_blocks: int = Field(ge=0, description="backbone blocks that stay as pre-trained, after the stem")
    proposals: int = Field(ge=1, description="the number of an image's best proposals from which regions are drawn")
    regions: int = Field(ge=1, description="the number of regions drawn from an image in a step")
    box_weight: float = Field(ge=0, description="lambda of the multi-task loss")
    patience: int = Field(
        default=0, ge=0, description="epochs without a better AP on val after which the training ends; 0 means never"
    )
    repeat_below: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the images: those with a class that fewer have are shown more often; 0 means none",
    )
    augment: tuple[Literal["flip", "flip_vertical", "colour", "scale"], ...] = Field(
        default=("flip",), description="random changes of training images; docs/own-data.md says what each does"
    )


class DetectSettings(_Frozen):
    """Settings for the use of the trained network, in the stage `evaluate` and in the artifact."""

    max_proposals: int = Field(ge=1, description="the number of proposals scored for each image: the RoI budget")
    min_score: float = Field(ge=0, le=1, description="detections with a lower score are not measured")
    nms_threshold: float = Field(gt=0, le=1, description="IoU above which a lower-scored box of one class is dropped")
    max_detections: int = Field(ge=1, description="the most detections for each image")


class Params(_Frozen):
    """All settings of the file."""

    fetch: FetchSettings
    propose: ProposeSettings
    model: ModelSettings
    train: TrainSettings
    detect: DetectSettings

    @model_validator(mode="after")
    def _stored_proposals_suffice(self) -> Self:
        if self.detect.max_proposals > self.propose.max_boxes:
            raise ValueError(
                f"detect.max_proposals {self.detect.max_proposals} is above propose.max_boxes "
                f"{self.propose.max_boxes}: the network would be used with more proposals than were measured"
            )
        return self

    @model_validator(mode="after")
    def _own_proposals_suffice(self) -> Self:
        if self.model.name in ("faster_rcnn", "cascade_rcnn") and self.detect.max_proposals > RPN_PROPOSALS:
            raise ValueError(f"detect.max_proposals must not be above {RPN_PROPOSALS} for {self.model.name}")
        return self

    @model_validator(mode="after")
    def _size_in_use_is_trained(self) -> Self:
        sizes, size = self.train.image_sizes, self.model.image_size
        if not min(sizes) <= size <= max(sizes):
            raise ValueError(
                f"model.image_size {size} lies outside train.image_sizes {list(sizes)}: the network would be used at "
                "a size that it was not trained for; change one of them"
            )
        return self


class _UniqueKeys(yaml.SafeLoader):  # type: ignore[misc]
    """Reads YAML, and refuses a key that one mapping has twice: YAML itself would keep the last value silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node; raises ConstructorError for a repeated key."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", node.value[index][0].start_mark
                )
        return super().construct_mapping(node, deep)


# Earlier names of sections and keys.
_RENAMED = {
    "evaluate": "detect",
    "model.weights": "model.start_from",
    "model.weights_sha256": "model.start_sha256",
}


def _has(content: Any, name: str) -> bool:
    """Return whether the content of params.yaml has a section, or a `section.key`."""
    for step in name.split("."):
        if not isinstance(content, dict) or step not in content:
            return False
        content = content[step]
    return True


def load_params(path: Path) -> Params:
    """Read `params.yaml`. Raises ParamsError, which names the key."""
    try:
        content = yaml.load(path.read_text("utf-8"), _UniqueKeys)
    except FileNotFoundError as error:
        raise ParamsError(f"{path} is missing: run from the project's folder") from error
    except yaml.constructor.ConstructorError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ParamsError(f"{path}: {where}{error.problem}: remove one of them") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} is not YAML: {error}") from error
    for old, new in _RENAMED.items():
        if _has(content, old) and not _has(content, new):
            raise ParamsError(f"{path}: `{old}` is now called `{new}`: rename it")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))}{': ' if e['loc'] else ''}{e['msg']}" for e in error.errors()
        )
        raise ParamsError(f"{path}: {problems}") from error


def params_digest(params: Params) -> str:
    """Return the sha256 of the settings' canonical JSON; comments and the order in the file do not count.

    A key that may be left out counts only with another value than its default, so that new keys change no digest.
    """
    return hashlib.sha256(params.model_dump_json(exclude_defaults=True).encode()).hexdigest()
