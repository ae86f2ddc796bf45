"""Keeps images of val and test out of the labels that a detector has made: people often label images of the bucket that
the detector then looks at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from detector.common.progress import progress
from detector.data.checks import Split
from detector.data.settings import SPLITS
from detector.runtime.hashes import NEAR, Hashes, difference_hash, distances
from detector.runtime.images import decode_image

_COPIES = "source {}: {:,} image(s) of train resemble images of val or test of another source, and were left out"


def without_copies(parts: Sequence[Mapping[str, Split]]) -> tuple[list[Mapping[str, Split]], list[str]]:
    """Return the sources' splits, and notices. Where a source has labels that no person has seen, its train split loses
    the images that are near-duplicates of images of val and test of other sources; `divide` keeps those of its own
    apart."""
    if all(part["train"].checked is None for part in parts if "train" in part):
        return list(parts), []
    held = [
        _hashes(path for name in SPLITS[1:] if name in part for path in part[name].files.values()) for part in parts
    ]
    kept: list[Mapping[str, Split]] = []
    notices = []
    for number, part in enumerate(parts, start=1):
        train = part.get("train")
        if train is None or train.checked is None:
            kept.append(part)
            continue
        known = np.concatenate([np.zeros(0, np.uint64), *held[: number - 1], *held[number:]])
        hashes = _hashes(train.files.values())
        near = {name for name, own in zip(train.files, hashes.tolist(), strict=True) if _is_near(own, known)}
        kept.append({**part, "train": _without(train, near)})
        notices += [_COPIES.format(number, len(near))] if near else []
    return kept, notices


def _hashes(paths: Iterable[Path]) -> Hashes:
    listed = list(paths)
    named = progress(listed, len(listed), "compare train with val and test")
    return np.array([difference_hash(decode_image(path.read_bytes())) for path in named], np.uint64)


def _is_near(one: int, others: Hashes) -> bool:
    return bool((distances(one, others) <= NEAR).any())


def _without(split: Split, names: set[str]) -> Split:
    images = tuple(image for image in split.dataset.images if image.file_name not in names)
    files = {name: path for name, path in split.files.items() if name not in names}
    return replace(split, dataset=replace(split.dataset, images=images), files=files)
