"""The section `fetch` of params.yaml: a list of sources, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SPLITS = ("train", "val", "test")
SplitName = Literal["train", "val", "test"]
# The keys of earlier versions, which knew one source.
_FORMER = ("source", "generated", "voc", "coco")


def split_named(name: str) -> SplitName | None:
    """Return the split that a name such as "instances_val2017" or "Validation" speaks of."""
    words = name.lower()
    found: list[SplitName] = [split for split in ("train", "val", "test") if split in words]
    return found[0] if len(found) == 1 else None


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ArchiveSettings(_Frozen):
    """One archive and its checksum."""

    url: str = Field(min_length=1, description="a path, file://, http(s):// or s3://")
    checksum: str = Field(pattern="^(md5:[0-9a-fA-F]{32}|sha256:[0-9a-fA-F]{64})$")


class FieldGroup(_Frozen):
    """Images that have the same value of a field stay together: those of one camera, patient or day."""

    field: str = Field(min_length=1)


class SplitSettings(_Frozen):
    """How training images are split by the stage. val, test: the shares of these splits, if the source lacks them."""

    val: float = Field(default=0.15, ge=0, lt=0.5)
    test: float = Field(default=0.15, ge=0, lt=0.5)
    by: Literal["file", "folder"] | FieldGroup = Field(
        default="file", description="what stays together, with near-duplicates"
    )
    near_duplicates: bool = Field(default=True, description="look for near-duplicates, which stay together")


class _Source(_Frozen):
    """What every source may state."""

    rename: dict[str, str] = Field(default_factory=dict, description="new names of classes, by their old ones")
    weight: float = Field(
        default=1.0, gt=0, le=100, description="how often an epoch shows a training image of this source"
    )

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the value of each setting that names a file, a folder or an archive."""
        yield from ()

    def division(self, found: Collection[str]) -> SplitSettings | None:
        """Return how images of train are split by the stage, or None; found: the splits that the source has."""
        return None

    def name(self) -> str:
        """Return the name of the source in splits.csv: the first file or folder that it names."""
        return next((value for key, value in self.named() if key != "cache"), "")

    def dependencies(self) -> Iterator[str]:
        """Yield the files and folders whose change must run the stage again. Labels and images lie beside a file, such
        as data.yaml, so that its folder counts. Archives cannot change unseen: the settings have their checksums."""
        for key, value in self.named():
            if key not in ("cache", "archives"):
                yield str(Path(value).parent) if Path(value).is_file() else value


class GeneratedCounts(_Frozen):
    """The number of scenes to draw for each split."""

    train: int = Field(ge=1)
    val: int = Field(ge=1)
    test: int = Field(ge=1)


class GeneratedSource(_Source):
    """Scenes that the project draws itself."""

    format: Literal["generated"]
    splits: GeneratedCounts


class _Fetched(_Source):
    """A source of files, some of which may be downloaded."""

    # Formats whose images may have fields, by which `split` may group them.
    has_fields: ClassVar[bool] = False

    cache: str = Field(default="data/archives", min_length=1, description="folder for downloads")
    split: SplitSettings | None = Field(
        default=None, description="takes missing splits from train; a source without splits is split in any case"
    )

    @model_validator(mode="after")
    def _fields_exist(self) -> Self:
        if self.group_field is not None and not self.has_fields:
            raise ValueError("split.by: images of this format have no fields; group them by file or by folder")
        return self

    @property
    def group_field(self) -> str | None:
        """The field whose value groups images, if there is one."""
        by = None if self.split is None else self.split.by
        return by.field if isinstance(by, FieldGroup) else None

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the value of each setting that names a file, a folder or an archive."""
        yield "cache", self.cache

    def division(self, found: Collection[str]) -> SplitSettings | None:
        """Return how images of train are split by the stage, or None; found: the splits that the source has."""
        return self.split if "train" in found else None


class CocoFiles(_Frozen):
    """An annotation JSON, and a folder of its images or an archive of them with its checksum."""

    annotations: str = Field(min_length=1)
    images: str = Field(min_length=1)
    checksum: str | None = None


class CocoSource(_Fetched):
    """COCO JSON, one file of each split. An archive that several splits name is fetched and unpacked once."""

    has_fields = True

    format: Literal["coco"]
    splits: dict[SplitName, CocoFiles] = Field(min_length=1)

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the value of each setting that names a file, a folder or an archive."""
        yield from super().named()
        for name, files in self.splits.items():
            yield f"splits.{name}.annotations", files.annotations
            yield f"splits.{name}.images", files.images

    def dependencies(self) -> Iterator[str]:
        """Yield the annotation files and the folders of images; not the archives, which have a checksum."""
        for files in self.splits.values():
            yield from (files.annotations, *([] if files.checksum else [files.images]))


class FileSource(_Fetched):
    """A folder or a file, or archives that are unpacked side by side."""

    data: str | None = Field(default=None, min_length=1, description="a folder or a file")
    archives: tuple[ArchiveSettings, ...] = ()

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.data is None) == (not self.archives):
            raise ValueError("give either `data`, a folder or a file, or `archives`")
        return self

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the value of each setting that names a file, a folder or an archive."""
        yield from super().named()
        if self.data is not None:
            yield "data", self.data
        for archive in self.archives:
            yield "archives", archive.url

    def division(self, found: Collection[str]) -> SplitSettings | None:
        """Return how images of train are split by the stage; a source without splits is split in any case."""
        return SplitSettings() if self.split is None and set(found) == {"train"} else super().division(found)


class _SplitSource(FileSource):
    """Files that may have splits of their own."""

    splits: dict[SplitName, str] | None = Field(
        default=None, min_length=1, description="the source's own name of each split that is taken"
    )

    def division(self, found: Collection[str]) -> SplitSettings | None:
        """Return how images of train are split by the stage; stated splits are all that there is without `split`."""
        return super().division(found) if self.splits is None else self.split if "train" in found else None


class VocSource(_SplitSource):
    """PASCAL VOC's XML, in devkits or in plain folders; `splits` names files of ImageSets/Main."""

    format: Literal["voc"]


class YoloSource(_SplitSource):
    """The text files of Ultralytics and Darknet; `splits` names keys of data.yaml."""

    format: Literal["yolo"]


class _ImagesApart(FileSource):
    """Files whose images may lie in a folder of their own, and may have fields."""

    has_fields = True

    images: str | None = Field(
        default=None, min_length=1, description="folder of the images, if they are not beside the labels"
    )

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the value of each setting that names a file, a folder or an archive."""
        yield from super().named()
        if self.images is not None:
            yield "images", self.images


class CvatSource(_ImagesApart, _SplitSource):
    """ "CVAT for images 1.1"; `splits` names subsets."""

    format: Literal["cvat"]


class LabelStudioSource(_ImagesApart):
    """Label Studio's export "JSON"."""

    format: Literal["labelstudio"]


LabelledSource = CocoSource | VocSource | YoloSource | CvatSource | LabelStudioSource
Score = Annotated[float, Field(ge=0, le=1)]


class ManifestsSource(_Fetched):
    """Published runs of the batch job, whose boxes become labels."""

    format: Literal["manifests"]
    runs: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=1, description="OUTPUTs, folders or s3://; an image that several have takes its labels from the last"
    )
    vote: bool = Field(
        default=False, description="the boxes of an image that several runs have read are fused, instead of the last's"
    )
    min_score: Score | dict[str, Score] | None = Field(
        default=None,
        description="least score of a box that becomes an object, for all labels or for each by its name; by default "
        "the label's score in the artifact that made the run, or else the artifact's operating score",
    )
    ignore_from: Score | None = Field(
        default=None,
        description="boxes from here to the least score are ignored; default: half the least score",
    )
    corrections: tuple[Annotated[LabelledSource, Field(discriminator="format")], ...] = Field(
        default=(), description="labels that people corrected; their images take no label from the runs"
    )
    take_rejected: bool = Field(default=False, description="read also runs that a rule has rejected")

    @model_validator(mode="after")
    def _only_corrections_are_split(self) -> Self:
        if any(source.split is not None for source in self.corrections):
            raise ValueError("corrections: `split` belongs to the source of the runs, and divides its corrected images")
        if self.split is not None and not self.corrections:
            raise ValueError(
                "split: it divides the images that people have corrected, and there are no `corrections`: take val and "
                "test from another source, because a detector must not be measured with labels that a detector made"
            )
        return self

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the value of each setting that names a file, a folder or an archive."""
        yield from super().named()
        for run in self.runs:
            yield "runs", run
        for source in self.corrections:
            for key, value in source.named():
                yield f"corrections.{key}", value

    def name(self) -> str:
        """Return the name of the source in splits.csv: the first run, so that runs are added at the end."""
        return self.runs[0]

    def dependencies(self) -> Iterator[str]:
        """Yield the runs' manifests, which have the digests of all parts, and what the corrections depend on."""
        for run in self.runs:
            yield f"{run.rstrip('/')}/manifest.json"
        for source in self.corrections:
            yield from source.dependencies()


SourceSettings = GeneratedSource | LabelledSource | ManifestsSource


class FetchSettings(_Frozen):
    """Settings of the stage `fetch`. Each split is the union over the sources."""

    seed: int = Field(
        default=1, ge=0, description="random seed of the splits that the stage makes, and of generated scenes"
    )
    sources: tuple[Annotated[SourceSettings, Field(discriminator="format")], ...] = Field(min_length=1)
    classes: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="the only classes to keep, in this order; null keeps all that are found"
    )
    boxes_frame: Literal["auto", "stored", "upright"] = Field(
        default="auto",
        description="where boxes of files with an EXIF orientation were drawn; auto: as the stated sizes tell",
    )
    scale_boxes: bool = Field(default=False, description="scale boxes whose stated size is not the file's")

    @model_validator(mode="before")
    @classmethod
    def _no_former_keys(cls, content: Any) -> Any:
        if isinstance(content, dict) and (found := [key for key in _FORMER if key in content]):
            raise ValueError(
                f"{', '.join(found)}: sources are a list now, as in `sources: [{{format: voc, archives: [...], "
                "splits: {train: train, val: val, test: test}}]`"
            )
        return content

    @model_validator(mode="after")
    def _no_class_twice(self) -> Self:
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: a name is listed twice")
        return self
