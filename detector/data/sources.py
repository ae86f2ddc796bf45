"""Reads the images and annotations of all splits from the source that the settings name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from detector.common.errors import AnnotationError, ArchiveError
from detector.common.progress import progress
from detector.data.annotations import CocoDataset, ImageInfo
from detector.data.archives import fetch_archive, unpack
from detector.data.checks import Split
from detector.data.formats.coco import read_coco
from detector.data.formats.voc import read_voc
from detector.data.frames import FrameRules
from detector.data.generated import GENERATED_CLASSES, draw_scene
from detector.data.settings import SPLITS, VOC_PRESETS, CocoSplitSettings, FetchSettings, GeneratedSettings

# Each split has its own range of scene numbers, so that a larger train split does not change val and test.
_SCENES_APART = 1_000_000
# The lowest JPEG quality that shows no blocks around the hard edges of the scenes.
_JPEG_QUALITY = 95


def read_source(settings: FetchSettings, seed: int, scratch: Path) -> tuple[dict[str, Split], list[str]]:
    """Return the splits of the source that the settings name, and sentences about what was decided for the user.

    scratch: an empty folder for files that are drawn or unpacked. Raises ArchiveError or AnnotationError.
    """
    match settings.source:
        case "generated":
            return _draw(settings.generated, seed, scratch), []
        case "voc":
            splits = _read_voc(settings, scratch)
        case "coco":
            splits = _read_coco(settings, scratch)
    notices = [f"{name}: {notice}" for name, split in splits.items() for notice in split.repairs.notices()]
    if _share_names(splits):
        splits = {name: _below_own_folder(name, split) for name, split in splits.items()}
        notices.append(
            "the splits use one file name for different files; they are kept apart in images/train, images/val and "
            "images/test"
        )
    return splits, notices


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
        with _named_by_archive({folder: split.images} if folder.is_relative_to(scratch) else {}):
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
