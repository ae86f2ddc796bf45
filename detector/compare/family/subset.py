"""Draws a part of a dataset by a seed, because R-CNN would take days on all of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detector.data.annotations import CocoDataset, load_coco, save_coco


def write_subset(dataset: Path, out: Path, counts: dict[str, int | None], seed: int) -> dict[str, tuple[int, int]]:
    """Write `out/<split>.json` with `counts[split]` images of `dataset` (None: all), and link `out/images`.

    Returns the numbers of images of each split, in the part and in the whole dataset.
    """
    out.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for split, count in counts.items():
        whole = load_coco(dataset / f"{split}.json")
        kept = np.arange(len(whole.images))
        if count is not None and count < len(kept):
            kept = np.sort(np.random.default_rng(seed).choice(kept, count, replace=False))
        part = CocoDataset(whole.classes, tuple(whole.images[i] for i in kept), whole.category_ids)
        save_coco(part, out / f"{split}.json")
        sizes[split] = (len(part.images), len(whole.images))
    images, target = out / "images", (dataset / "images").resolve()
    if images.is_symlink() and images.resolve() != target:  # it links to another dataset, or to one that was moved
        images.unlink()
    if not images.is_symlink():
        images.symlink_to(target, target_is_directory=True)
    return sizes
