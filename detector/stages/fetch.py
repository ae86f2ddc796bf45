"""Stage `fetch`: turns any source into three COCO files and a folder of images.

Writes `train.json`, `val.json`, `test.json`, `images/`, `report.json` and `validation.json`.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detector.common.errors import AnnotationError, ArchiveError
from detector.common.files import lies_in
from detector.common.progress import progress
from detector.common.quality.judge import Finding
from detector.data.annotations import CocoDataset, ImageInfo, save_coco
from detector.data.archives import fetch_archive, local_path, unpack
from detector.data.checks import Split
from detector.data.expectations import judge_splits, require
from detector.data.formats.coco import read_coco
from detector.data.formats.voc import read_voc
from detector.data.frames import FrameRules
from detector.data.generated import GENERATED_CLASSES, draw_scene
from detector.data.settings import (
    VOC_PRESETS,
    CocoSplitSettings,
    FetchSettings,
    GeneratedSettings,
)
from detector.stages.layout import SPLITS
from detector.stages.metrics_file import write_json

# Each split has its own range of scene numbers, so that a larger train split does not change val and test.
_SCENES_APART = 1_000_000
# The lowest JPEG quality that shows no blocks around the hard edges of the scenes.
_JPEG_QUALITY = 95
# The folder of unfinished work, on the disk of the result so that finished files are renamed.
_UNFINISHED = ".unfinished"
_NOT_THERE = (
    "Files that git ignores, such as data/, are not in the copy that `dvc exp run --temp` or `--queue` makes: add the "
    "option --copy-paths, or name an absolute path"
)
_IN_PRODUCT = "lies in {out}, which this stage replaces: copy the source to another folder, and name that"


@dataclass(frozen=True)
class SplitReport:
    """The numbers of one split; `per_class` counts boxes, including ignored ones."""

    images: int
    images_without_boxes: int
    boxes: int
    ignored: int
    crowds: int
    clipped: int
    dropped: int
    size_mismatched: int
    turned: int
    scaled: int
    frame_assumed: int
    per_class: dict[str, int]


@dataclass(frozen=True)
class FetchReport:
    """The numbers of each split, the findings of the rules, and sentences about what was decided for the user."""

    splits: dict[str, SplitReport]
    findings: list[Finding]  # one for each rule; no rule that rejects is broken
    notices: list[str]

    def metrics(self) -> dict[str, dict[str, Any]]:
        """Return plain numbers for `dvc metrics`."""
        return {name: asdict(split) for name, split in self.splits.items()}


def _draw(settings: GeneratedSettings, seed: int, scratch: Path) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    counts = {name: getattr(settings, name) for name in SPLITS}
    with progress(None, sum(counts.values()), "draw scenes") as bar:
        for order, (name, count) in enumerate(counts.items()):
            images: list[ImageInfo] = []
            files: dict[str, Path] = {}
            for number in range(1, count + 1):
                scene = draw_scene(seed, order * _SCENES_APART + number)
                file_name = f"{name}-{number:06d}.jpg"
                files[file_name] = scratch / file_name
                Image.fromarray(scene.pixels).save(files[file_name], quality=_JPEG_QUALITY, subsampling=0)
                height, width = scene.pixels.shape[:2]
                truth = (scene.boxes, scene.labels, scene.ignore, np.zeros(len(scene.boxes), np.bool_))
                images.append(ImageInfo(number, file_name, width, height, *truth))
                bar.update()
            splits[name] = Split(CocoDataset(GENERATED_CLASSES, tuple(images)), files)
    return splits


@contextlib.contextmanager
def _named_by_archive(unpacked: Mapping[Path, str]) -> Iterator[None]:
    """Let errors about files that were unpacked name the archive: the folder is gone when a user looks for it."""
    try:
        yield
    except AnnotationError as error:
        text = str(error)
        for folder, archive in unpacked.items():
            text = text.replace(f"{folder}/", f"{archive}: ").replace(str(folder), archive)
        raise AnnotationError(text) from error


def _read_voc(settings: FetchSettings, scratch: Path) -> dict[str, Split]:
    unpacked: dict[Path, str] = {}
    for archive in VOC_PRESETS[settings.voc.preset] if settings.voc.preset else settings.voc.archives:
        local = fetch_archive(archive.url, archive.checksum, Path(settings.voc.cache))
        folder = scratch / f"{len(unpacked):04d}"  # separate folders: two archives may have files with the same name
        unpacked[folder] = archive.url
        unpack(local, folder)
    with _named_by_archive(unpacked):
        return {name: read_voc(list(unpacked), name, _rules(settings)) for name in SPLITS}


def _read_coco(settings: FetchSettings, scratch: Path) -> dict[str, Split]:
    folders: dict[str, Path] = {}
    splits: dict[str, Split] = {}
    for name in SPLITS:
        split: CocoSplitSettings = getattr(settings.coco, name)
        folder = folders.setdefault(split.images, Path(split.images))
        if not folder.is_dir():
            if split.checksum is None:
                raise ArchiveError(
                    f"{split.images}: is no folder; if it is an archive, state its checksum (fetch.coco.{name})"
                )
            folder = folders[split.images] = scratch / f"{len(folders):04d}"
            unpack(fetch_archive(split.images, split.checksum, Path(settings.coco.cache)), folder)
        with _named_by_archive({folder: split.images}):
            splits[name] = read_coco(Path(split.annotations), folder, _rules(settings))
    for name, found in splits.items():
        if found.dataset.classes != splits["train"].dataset.classes:
            raise AnnotationError(
                f"{getattr(settings.coco, name).annotations}: its categories are not those of "
                f"{settings.coco.train.annotations}"
            )
    return splits


def _rules(settings: FetchSettings) -> FrameRules:
    return FrameRules(settings.boxes_frame, settings.scale_boxes)


def _share_names(splits: dict[str, Split]) -> bool:
    """Return whether one file name means different files, as frame_000000.png of several videos does in CVAT."""
    used: dict[str, set[Path]] = {}
    for split in splits.values():
        for file_name, path in split.files.items():
            used.setdefault(file_name, set()).add(path.resolve())
    return any(len(paths) > 1 for paths in used.values())


def _below_own_folder(name: str, split: Split) -> Split:
    """Return the split with its name as a folder before every file name."""
    images = tuple(replace(image, file_name=f"{name}/{image.file_name}") for image in split.dataset.images)
    files = {f"{name}/{file_name}": path for file_name, path in split.files.items()}
    return replace(split, dataset=replace(split.dataset, images=images), files=files)


def _report(split: Split) -> SplitReport:
    images, classes = split.dataset.images, split.dataset.classes
    counts = np.zeros(len(classes), np.int64)
    for image in images:
        counts += np.bincount(image.labels, minlength=len(classes))
    return SplitReport(
        images=len(images),
        images_without_boxes=sum(len(image.boxes) == 0 for image in images),
        boxes=int(counts.sum()),
        ignored=sum(int(image.ignore.sum()) for image in images),
        crowds=sum(int(image.crowd.sum()) for image in images),
        clipped=split.repairs.clipped,
        dropped=split.repairs.dropped,
        size_mismatched=split.repairs.mismatched,
        turned=split.repairs.turned,
        scaled=split.repairs.scaled,
        frame_assumed=split.repairs.assumed_upright + split.repairs.assumed_stored,
        per_class={name: int(count) for name, count in zip(classes, counts, strict=True)},
    )


def _check_sources(settings: FetchSettings, out: Path) -> None:
    """Raise AnnotationError if a source lies in `out`, which the result replaces, or is not there."""
    named: list[tuple[str, str]] = []
    if settings.source == "voc":
        named = [("voc.archives", archive.url) for archive in settings.voc.archives] + [
            ("voc.cache", settings.voc.cache)
        ]
    if settings.source == "coco":
        named = [("coco.cache", settings.coco.cache)]
        for name in SPLITS:
            split: CocoSplitSettings = getattr(settings.coco, name)
            named += [(f"coco.{name}.annotations", split.annotations), (f"coco.{name}.images", split.images)]
    for key, value in named:
        if (path := local_path(value)) is not None and lies_in(path, out):
            raise AnnotationError(f"{value}: {_IN_PRODUCT.format(out=out)} (fetch.{key})")
        if path is not None and not path.is_absolute() and not key.endswith("cache") and not path.exists():
            raise AnnotationError(f"{value}: is not in {Path.cwd()} (fetch.{key}). {_NOT_THERE}")


def _refuse_own_images(splits: dict[str, Split], out: Path, scratch: Path) -> None:
    """Raise AnnotationError if an image lies in `out`: a link may lead there, or a source may contain `out`."""
    for split in splits.values():
        for path in split.files.values():
            if lies_in(path, out) and not lies_in(path, scratch):
                raise AnnotationError(f"{path}: {_IN_PRODUCT.format(out=out)}")


def _replace(out: Path, new: Path) -> None:
    """Put everything in `new` into `out`, in place of an earlier result."""
    if (out / "images").exists():
        shutil.rmtree(out / "images")
    for name in (*SPLITS, "report", "validation", "settings"):
        (out / f"{name}.json").unlink(missing_ok=True)
    for path in new.iterdir():
        path.rename(out / path.name)


def fetch(settings: FetchSettings, seed: int, out: Path) -> FetchReport:
    """Write the source's images and truths into `out`, in place of those of an earlier run.

    The same settings, seed and source give the same bytes. The new files appear when all are complete; what a killed
    run left is removed first. Raises ArchiveError or AnnotationError; then `out` is as it was, except if a rule is
    broken: then it has no split, and validation.json in it names the images.
    """
    _check_sources(settings, out)
    work = out / _UNFINISHED
    for left in (work, *out.glob(".unpacked-*")):  # the second are those of earlier versions
        shutil.rmtree(left, ignore_errors=True)
    new, scratch = work / "new", work / "scratch"
    images = new / "images"
    images.mkdir(parents=True)
    scratch.mkdir()
    notices: list[str] = []
    try:
        match settings.source:
            case "generated":
                splits = _draw(settings.generated, seed, scratch)
            case "voc":
                splits = _read_voc(settings, scratch)
            case "coco":
                splits = _read_coco(settings, scratch)
                if _share_names(splits):
                    splits = {name: _below_own_folder(name, split) for name, split in splits.items()}
                    notices.append(
                        "the splits use one file name for different files; they are kept apart in images/train, "
                        "images/val and images/test"
                    )
        _refuse_own_images(splits, out, scratch)
        splits["train"].dataset.require_boxes("train")
        findings = judge_splits(splits)
        write_json(new / "validation.json", [finding.summary() for finding in findings])
        try:
            require(findings, "Correct the source, then fetch again")
        except AnnotationError:
            _replace(out, new)
            raise
        for split in splits.values():
            for file_name, path in split.files.items():
                target = images / file_name
                target.parent.mkdir(parents=True, exist_ok=True)
                if path.is_relative_to(scratch):
                    path.rename(target)
                else:
                    shutil.copyfile(path, target)
        notices += [f"{name}: {notice}" for name, split in splits.items() for notice in split.repairs.notices()]
        report = FetchReport({name: _report(split) for name, split in splits.items()}, findings, notices)
        for name, split in splits.items():
            save_coco(split.dataset, new / f"{name}.json")
        (new / "report.json").write_text(json.dumps(report.metrics(), indent=2) + "\n")
        _replace(out, new)
    finally:
        shutil.rmtree(work)
    return report
