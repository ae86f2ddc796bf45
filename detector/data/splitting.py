"""Splits a source without splits: near-duplicates stay together, and every image keeps its side for good."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from detector.common.errors import AnnotationError
from detector.common.progress import progress
from detector.data.checks import Repairs, Split
from detector.data.settings import SplitSettings
from detector.data.sides import LEFT_OUT, Side, Sides
from detector.runtime.hashes import NEAR, Hashes, difference_hash, distances
from detector.runtime.images import decode_image

_LEFT_OUT = (
    "{:,} image(s) resemble images of two splits and are in none of them: in train they would give away the others"
)
_UNCHECKED = (
    "{:,} image(s) resemble images of val or test, and no person has corrected their labels: they are in no split"
)
_TOGETHER = "{:,} new image(s) resemble others of their source, and are in one split with them"
_CAMERA = (
    "{:,} images resemble each other, as those of one fixed camera do, and are not kept together: `by: folder` in the "
    "source's `split` keeps those of a folder together, and `near_duplicates: false` does not look for any"
)
# A group of images that resemble each other comes from one camera, and does not consist of duplicates, if it holds more
# than a third of its source and at least this many images. In a source of five images, two alike are duplicates.
_LEAST_OF_CAMERA = 10


def divide(
    source: str, pool: Split, stated: Iterable[str], settings: SplitSettings, seed: int, sides: Sides
) -> tuple[dict[str, Split], list[str]]:
    """Return the splits of a source's training images, and notices; adds new images to `sides`.

    stated: the splits that the source has of its own, which get none of these images. An image in `sides` keeps its
    side. A new one joins its nearest old near-duplicate, and is left out if it is near two sides. The side of the
    others is a hash of the seed and their group: the file, its folder or the images with its value of a field, with its
    near-duplicates. A split that would be empty gets the new group with the smallest hash. Of a source with labels that
    no person has seen (`pool.checked`), those are in train or in no split.
    Raises AnnotationError if a split that was asked for gets no image.
    """
    shares = {"val": settings.val, "test": settings.test}
    shares = {name: share for name, share in shares.items() if name not in stated and share > 0}
    old = {image: side for (name, image), side in sides.items() if name == source}
    new = [image.file_name for image in pool.dataset.images if image.file_name not in old]
    named = progress(new, len(new), "look for near-duplicates")
    hashes = np.array([difference_hash(decode_image(pool.files[name].read_bytes())) for name in named], np.uint64)
    cameras = _cameras(hashes, old) if new and settings.near_duplicates else []
    alone = {index for camera in cameras for index in camera} if settings.near_duplicates else range(len(new))
    near = list(_near(hashes, alone))
    kept = {name: side for name, side in old.items() if side.split != LEFT_OUT}
    group_of = _grouping(pool, settings)
    known = _known_sides(new, hashes, kept, group_of, alone)
    groups = _groups([*near, *_same_group(new, group_of)], len(new))
    free: list[tuple[float, list[str]]] = []
    for group in groups:
        members = [new[index] for index in group]
        nearest = min((found for index in group for found in known[index]), default=None)
        number = _number(seed, min(members))
        is_free = nearest is None and any(map(pool.is_checked, members))
        side = nearest[1] if nearest else _drawn(number, shares) if is_free else "train"
        if is_free:
            free.append((number, members))
        for index in group:
            is_near_both = {split for _, split in known[index]} - {side}
            sides[source, new[index]] = Side(LEFT_OUT if is_near_both else side, int(hashes[index]))
    for name in ("train", *shares):
        _fill(source, pool, name, sorted(free), sides)
    splits = {name: _part(pool, source, name, sides) for name in ("train", *shares)}
    for name in shares:
        if not splits[name].files:
            raise AnnotationError(
                f"{source}: none of its {len(pool.files)} images is in {name}: the largest group that stays together "
                f"has {max(map(len, groups), default=0)} of them; set `near_duplicates: false` in the source's `split` "
                "if they resemble each other and are no copies, add images, or edit its lines in splits.csv if it has "
                "some"
            )
    left_out = sum(sides[source, name].split == LEFT_OUT for name in pool.files)
    unchecked = sum(sides[source, name].split in shares and not pool.is_checked(name) for name in pool.files)
    together = len({index for pair in near for index in pair})
    counted = [(_LEFT_OUT, left_out), (_UNCHECKED, unchecked), (_TOGETHER, together)]
    counted += [(_CAMERA, len(camera)) for camera in cameras]
    return splits, [text.format(n) for text, n in counted if n]


def _cameras(hashes: Hashes, old: Mapping[str, Side]) -> list[list[int]]:
    """Return the groups that are a camera's, of the new images and then the old ones."""
    every = np.concatenate([hashes, np.array([side.dhash for side in old.values()], np.uint64)])
    groups = _groups(_near(every, set()), len(every))
    return [group for group in groups if len(group) >= _LEAST_OF_CAMERA and 3 * len(group) > len(every)]


def _fill(source: str, pool: Split, name: str, free: Iterable[tuple[float, list[str]]], sides: Sides) -> None:
    """If a split is empty, move the first of the new groups to it that does not leave another split empty."""
    counts = Counter(sides[source, image.file_name].split for image in pool.dataset.images)
    if counts[name]:
        return
    for _, members in free:
        if counts[sides[source, members[0]].split] > len(members):
            sides.update({(source, member): replace(sides[source, member], split=name) for member in members})
            return


def _near(hashes: Hashes, alone: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of images that are near-duplicates; alone: images that are left aside with all near them."""
    for index, own in enumerate(hashes.tolist()):
        if index in alone:
            continue
        for other in np.flatnonzero(distances(own, hashes[index + 1 :]) <= NEAR).tolist():
            yield index, index + 1 + other


def _grouping(pool: Split, settings: SplitSettings) -> Callable[[str], str | None]:
    """Return the function from an image's name to its group; None: it is alone, or no longer in the source."""
    if settings.by == "file":
        return lambda name: None
    if settings.by == "folder":
        return lambda name: PurePosixPath(name).parent.as_posix()
    return {image.file_name: image.group for image in pool.dataset.images}.get


def _same_group(names: Sequence[str], group_of: Callable[[str], str | None]) -> Iterator[tuple[int, int]]:
    """Yield pairs that join the images of each group."""
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if (group := group_of(name)) is not None:
            yield first.setdefault(group, index), index


def _groups(pairs: Iterable[tuple[int, int]], count: int) -> list[list[int]]:
    """Return the indices 0 to count - 1 in groups: two are in one group if pairs lead from one to the other."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for one, other in pairs:
        parent[root(one)] = root(other)
    groups: dict[int, list[int]] = {}
    for index in range(count):
        groups.setdefault(root(index), []).append(index)
    return list(groups.values())


def _known_sides(
    new: Sequence[str],
    hashes: Hashes,
    old: Mapping[str, Side],
    group_of: Callable[[str], str | None],
    alone: Collection[int],
) -> list[list[tuple[int, str]]]:
    """Return, for each new image, the distance and the side of the old images that it belongs to.

    It belongs to those that are near it, unless it is in `alone`, and to those of its group.
    """
    sides = [side.split for side in old.values()]
    old_hashes = np.array([side.dhash for side in old.values()], np.uint64)
    in_group: dict[str | None, list[int]] = {}
    for index, name in enumerate(old):
        in_group.setdefault(group_of(name), []).append(index)
    found = []
    for own, (name, dhash) in enumerate(zip(new, hashes.tolist(), strict=True)):
        bits = distances(dhash, old_hashes)
        belongs = (bits <= NEAR) & (own not in alone)
        if (group := group_of(name)) is not None:
            belongs[in_group.get(group, [])] = True
        found.append([(int(bits[index]), sides[index]) for index in np.flatnonzero(belongs)])
    return found


def _number(seed: int, group: str) -> float:
    """Return the hash of a group as a number in [0, 1)."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{group}".encode()).digest()[:8], "big") / 2**64


def _drawn(number: float, shares: Mapping[str, float]) -> str:
    """Return the split of a group: each split has its share of [0, 1)."""
    for name, share in shares.items():
        if number < share:
            return name
        number -= share
    return "train"


def _part(pool: Split, source: str, name: str, sides: Sides) -> Split:
    """Return the images of one side, in val and test those whose labels people have seen. The repairs are counted with
    the images of train."""
    images = tuple(
        image
        for image in pool.dataset.images
        if sides[source, image.file_name].split == name and (name == "train" or pool.is_checked(image.file_name))
    )
    files = {image.file_name: pool.files[image.file_name] for image in images}
    return Split(
        replace(pool.dataset, images=images), files, pool.repairs if name == "train" else Repairs(), pool.checked
    )
