"""Reads the images and annotations of all sources, and joins them by split."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from detector.common.errors import AnnotationError
from detector.data.annotations import CocoDataset, ImageInfo
from detector.data.checks import Repairs, Split
from detector.data.copies import without_copies
from detector.data.formats import READERS
from detector.data.frames import FrameRules
from detector.data.places import Places
from detector.data.settings import SPLITS, FetchSettings
from detector.data.sides import Sides
from detector.data.splitting import divide
from detector.runtime.label_run import LabelRun


@dataclass(frozen=True)
class Joined:
    """The splits over all sources. left_out: the number of objects of each split by classes that the settings do not
    list; notices: sentences about what was decided for the user; runs: the published runs that labels come from."""

    splits: dict[str, Split]
    left_out: dict[str, Counter[str]]
    notices: list[str]
    runs: list[LabelRun]


def read_sources(settings: FetchSettings, seed: int, scratch: Path, sides: Sides) -> Joined:
    """Return the splits of all sources, joined, with the classes that the settings list, or all that are found.

    scratch: an empty folder for files that are drawn or unpacked; sides: of images that were split before, to which new
    ones are added. Raises ArchiveError or AnnotationError.
    """
    places = Places(scratch)
    rules = FrameRules(settings.boxes_frame, settings.scale_boxes)
    notices: list[str] = []
    parts: list[dict[str, Split]] = []
    runs: list[LabelRun] = []
    for number, source in enumerate(settings.sources, start=1):
        prefix = f"source {number} ({source.format}), " if len(settings.sources) > 1 else ""
        with places.named():
            stated = READERS[source.format](source, places, seed, rules)
            known = dict.fromkeys(name for part in stated.values() for name in part.dataset.classes)
            if unknown := sorted(set(source.rename) - set(known)):
                raise AnnotationError(_unknown(f"fetch.sources, source {number}: rename", unknown[0], list(known)))
            read = {}
            for name, part in stated.items():
                runs += part.runs
                read[name] = _renamed(part.fit(rules), source.rename, source.weight if name == "train" else 1.0)
                sentences = [note.format(f"{count:,}") for note, count in part.notes.items() if count]
                notices += [f"{prefix}{name}: {text}" for text in [*read[name].repairs.notices(), *sentences]]
            if division := source.division(read):
                pool = read.pop("train")
                taken, sentences = divide(source.name(), pool, read, division, seed, sides)
                read = taken | read
                notices += [f"{prefix}{text}" for text in sentences]
        parts.append(read)
    for split in SPLITS:
        if not any(split in part for part in parts):
            raise AnnotationError(
                f"no source has images for the split {split}: name it in the `splits` of a source, or add a source"
            )
    kept, copies = without_copies(parts)
    notices += copies
    classes, found = _classes(settings.classes, kept)
    notices += found
    apart, kept_apart = _apart(kept)
    notices += kept_apart
    splits, left_out = {}, {}
    for split in SPLITS:
        own = [part[split] for part in apart if split in part]
        splits[split], left_out[split] = _join(own, classes)
        notices += [f"{split}: {n:,} object(s) of class {c} were left out" for c, n in sorted(left_out[split].items())]
    return Joined(splits, left_out, notices, runs)


def _renamed(split: Split, names: Mapping[str, str], weight: float) -> Split:
    """Return a source's split with new names of its classes, and its weight; classes of one new name become one."""
    classes = split.dataset.classes
    new = [names.get(name, name) for name in classes]
    kept = tuple(dict.fromkeys(new))
    label_of = np.array([kept.index(name) for name in new], np.int64)
    images = tuple(
        replace(
            image,
            labels=label_of[image.labels] if len(image.labels) else image.labels,
            weight=weight * image.weight,
        )
        for image in split.dataset.images
    )
    return replace(split, dataset=CocoDataset(kept, images))


def _unknown(where: str, name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    meant = f"; do you mean {near[0]!r}?" if near else ""
    return f"{where}: no object is of class {name!r}{meant} The classes are {', '.join(known)}"


def _classes(listed: tuple[str, ...] | None, parts: Sequence[Mapping[str, Split]]) -> tuple[tuple[str, ...], list[str]]:
    """Return the classes in the order of their labels, and notices.

    Without a list they are those of the first source, then what the others add. A source that reads its classes from
    its objects may lack some in one of its splits.
    """
    of_sources = [
        list(dict.fromkeys(name for split in part.values() for name in split.dataset.classes)) for part in parts
    ]
    found = tuple(dict.fromkeys(name for names in of_sources for name in names))
    if len(of_sources) == 1 and not _is_numbered(parts[0]):
        found = tuple(sorted(found))
    if listed is not None:
        if unknown := [name for name in listed if name not in found]:
            raise AnnotationError(_unknown("fetch.classes", unknown[0], found))
        return listed, []
    lacking = [
        f"source {number} lacks the classes {', '.join(missing)}, which another source has: its images may show such "
        "objects without boxes; `rename` joins classes, `classes` keeps some"
        for number, names in enumerate(of_sources, start=1)
        if (missing := [name for name in found if name not in names])
    ]
    return found, lacking


def _is_numbered(part: Mapping[str, Split]) -> bool:
    """Return whether all splits list the same classes, whose order then is the source's own."""
    return len({split.dataset.classes for split in part.values()}) == 1


def _join(splits: Sequence[Split], classes: tuple[str, ...]) -> tuple[Split, Counter[str]]:
    """Return one split of several, with new ids and only objects of `classes`, and the numbers of the others."""
    images: list[ImageInfo] = []
    left_out: Counter[str] = Counter()
    for split in splits:
        names = split.dataset.classes
        label_of = np.array([classes.index(name) if name in classes else -1 for name in names], np.int64)
        for image in split.dataset.images:
            labels = label_of[image.labels] if len(image.labels) else image.labels
            kept = labels >= 0
            left_out.update(names[label] for label in image.labels[~kept])
            rows = {key: getattr(image, key)[kept] for key in ("boxes", "ignore", "crowd")}
            images.append(replace(image, id=len(images) + 1, labels=labels[kept], **rows))
    files = {name: path for split in splits for name, path in split.files.items()}
    repairs = sum((split.repairs for split in splits), Repairs())
    return Split(CocoDataset(classes, tuple(images)), files, repairs), left_out


def _apart(parts: Sequence[Mapping[str, Split]]) -> tuple[list[Mapping[str, Split]], list[str]]:
    """Return the parts with file names that mean one file each: below the split's name, or the source's number."""
    notices = []
    apart = list(parts)
    for number, part in enumerate(parts):
        if _share_names(part.values()):
            apart[number] = {name: _below(name, split) for name, split in part.items()}
            notices.append(
                "the splits use one file name for different files; they are kept apart in images/train, images/val and "
                "images/test"
            )
    if _share_names(split for part in apart for split in part.values()):
        apart = [
            {name: _below(f"source-{number}", split) for name, split in part.items()}
            for number, part in enumerate(apart, start=1)
        ]
        notices.append("the sources use one file name for different files; they are kept apart in images/source-1, ...")
    return apart, notices


def _share_names(splits: Iterable[Split]) -> bool:
    """Return whether one file name means different files, as frame_000000.png of several videos does in CVAT."""
    used: dict[str, set[Path]] = {}
    for split in splits:
        for file_name, path in split.files.items():
            used.setdefault(file_name, set()).add(path.resolve())
    return any(len(paths) > 1 for paths in used.values())


def _below(folder: str, split: Split) -> Split:
    """Return the split with a folder before every file name."""
    images = tuple(replace(image, file_name=f"{folder}/{image.file_name}") for image in split.dataset.images)
    files = {f"{folder}/{file_name}": path for file_name, path in split.files.items()}
    return replace(split, dataset=replace(split.dataset, images=images), files=files)
