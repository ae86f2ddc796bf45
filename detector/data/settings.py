"""The section `fetch` of params.yaml."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SPLITS = ("train", "val", "test")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GeneratedSettings(_Frozen):
    """The number of scenes to draw for each split."""

    train: int = Field(ge=1)
    val: int = Field(ge=1)
    test: int = Field(ge=1)


class ArchiveSettings(_Frozen):
    """One archive and its checksum."""

    url: str = Field(min_length=1, description="a path, file://, http(s):// or s3://")
    checksum: str = Field(pattern="^(md5:[0-9a-fA-F]{32}|sha256:[0-9a-fA-F]{64})$")


class VocSettings(_Frozen):
    """Devkit archives: either those of a preset or listed ones, never both."""

    preset: Literal["voc2007"] | None
    archives: tuple[ArchiveSettings, ...]
    cache: str = Field(min_length=1, description="folder for downloads")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.preset is None) == (not self.archives):
            raise ValueError("give either a preset or archives")
        return self


class CocoSplitSettings(_Frozen):
    """One split: its annotation JSON, and a folder of images or an archive of them with its checksum."""

    annotations: str = Field(min_length=1)
    images: str = Field(min_length=1)
    checksum: str | None


class CocoSettings(_Frozen):
    """The three splits; an archive that several splits name is fetched and unpacked once."""

    train: CocoSplitSettings
    val: CocoSplitSettings
    test: CocoSplitSettings
    cache: str = Field(min_length=1, description="folder for downloads")


class FetchSettings(_Frozen):
    """Settings of the stage `fetch`; only the section that `source` names is used."""

    source: Literal["generated", "voc", "coco"]
    seed: int = Field(ge=0, description="random seed of the generated scenes")
    generated: GeneratedSettings
    voc: VocSettings
    coco: CocoSettings
    boxes_frame: Literal["auto", "stored", "upright"] = Field(
        default="auto",
        description="where boxes of files with an EXIF orientation were drawn; auto: as the stated sizes tell",
    )
    scale_boxes: bool = Field(default=False, description="scale boxes whose stated size is not the file's")


# The official files. torchvision and other libraries state the same checksums.
VOC_PRESETS: dict[str, tuple[ArchiveSettings, ...]] = {
    "voc2007": (
        ArchiveSettings(
            url="http://host.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtrainval_06-Nov-2007.tar",
            checksum="md5:c52e279531787c972589f7e41ab4ae64",
        ),
        ArchiveSettings(
            url="http://host.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtest_06-Nov-2007.tar",
            checksum="md5:b6e924de25625d8de591ea690078ad9f",
        ),
    ),
}
