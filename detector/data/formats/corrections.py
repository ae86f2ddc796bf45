"""Reads labels that people corrected, and puts them in the place of a detector's."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np

from detector.common.errors import AnnotationError
from detector.common.file_names import escaped
from detector.data.annotations import CocoDataset, ImageInfo
from detector.data.formats.labelled import LABELLED
from detector.data.frames import FrameRules
from detector.data.places import Places
from detector.data.settings import ManifestsSource
from detector.data.stated import Stated

_OTHER_BYTES = "{} corrected image(s) have the name of the run's image and other bytes; the corrected file was taken"
# Of a file, and of an S3 object that was uploaded in one piece without a key of KMS, the ETag is the MD5.
_MD5 = re.compile(r"[0-9a-f]{32}")


class Target(NamedTuple):
    """An image of a run: its URI, its key below INPUT, and the ETag of the version that the run has seen."""

    uri: str
    key: str
    etag: str | None


@dataclass(frozen=True, eq=False)
class Correction:
    """An image whose labels people have corrected: its file, and its labels with the names of their classes."""

    path: Path
    image: ImageInfo
    names: list[str]


def read_corrections(
    source: ManifestsSource, places: Places, seed: int, rules: FrameRules, notes: Counter[str]
) -> list[Correction]:
    """Return all images of the corrections, of all their splits, and add to `notes` what their readers say.

    Raises AnnotationError or ArchiveError.
    """
    found = []
    for correction in source.corrections:
        for part in LABELLED[correction.format](correction, places, seed, rules).values():
            notes.update({f"corrections: {note}": count for note, count in part.notes.items()})
            names = [correction.rename.get(name, name) for name in part.dataset.classes]
            for image in part.dataset.images:
                weighted = replace(image, weight=image.weight * correction.weight)
                own = [names[label] for label in image.labels]
                found.append(Correction(part.files[image.file_name], weighted, own))
    return found


def match(
    corrections: Sequence[Correction], targets: Mapping[str, Target], notes: Counter[str]
) -> dict[str, Correction]:
    """Return the corrections by the name of their image; a later one replaces an earlier one of the same image.

    targets: the images of the runs by their names. The MD5 of a file tells its image where that is the ETag, also when
    a labelling tool has renamed the file. Otherwise its name does: the image's key, or the name that `boxcar sample`
    gives to the copy. Raises AnnotationError if no image or more than one is meant.
    """
    by_etag: dict[str | None, list[str]] = {}
    by_name: dict[str, list[str]] = {}
    for name, target in targets.items():
        by_etag.setdefault(target.etag, []).append(name)
        for file_name in {target.key, escaped(target.key)}:
            by_name.setdefault(file_name, []).append(name)
    found: dict[str, Correction] = {}
    for correction in corrections:
        file_name = correction.image.file_name
        named = by_name.get(file_name) or by_name.get(unquote(file_name)) or []
        digest = hashlib.md5(correction.path.read_bytes(), usedforsecurity=False).hexdigest()
        if equal := by_etag.get(digest):  # several: copies of one file, of which the name tells one
            name = next((name for name in equal if name in named), equal[0])
        elif len(named) == 1:
            (name,) = named
            notes[_OTHER_BYTES] += _MD5.fullmatch(targets[name].etag or "") is not None
        else:
            several = f"has the name of several: {', '.join(targets[name].uri for name in named)}"
            raise AnnotationError(
                f"{correction.path}: corrections must be of images of the runs, and this one "
                f"{several if named else 'is none of them by its bytes or its name'}; keep the files as "
                "`boxcar sample --copy-images` wrote them, or name other images in a source of their own"
            )
        found[name] = correction
    return found


def override(stated: Stated, corrected: Mapping[str, Correction]) -> Stated:
    """Return the split with the corrected images in it, by their names, and classes that only they have at the end.

    stated: the images that were not corrected.
    """
    classes = dict.fromkeys([*stated.dataset.classes, *(name for own in corrected.values() for name in own.names)])
    label_of = {name: label for label, name in enumerate(classes)}
    added = [
        replace(own.image, file_name=name, labels=np.array([label_of[label] for label in own.names], np.int64))
        for name, own in corrected.items()
    ]
    files = stated.files | {name: own.path for name, own in corrected.items()}
    images = sorted([*stated.dataset.images, *added], key=lambda image: image.file_name)
    numbered = tuple(replace(image, id=number) for number, image in enumerate(images, start=1))
    return replace(
        stated,
        dataset=CocoDataset(tuple(classes), numbered),
        files={image.file_name: files[image.file_name] for image in numbered},
        checked=frozenset(corrected),
    )
