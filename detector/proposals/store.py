"""Stores proposals: each split has a NumPy archive with the `boxes` of all images, float32 (M, 4), and `starts`.

`starts` is int64 (I + 1,). The boxes of image i of the split's COCO file, in the order of ids, are
boxes[starts[i]:starts[i + 1]], xyxy in its own pixels, best first.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.common.errors import AnnotationError
from detector.runtime.geometry.boxes import Boxes, empty


@dataclass(frozen=True, eq=False)
class Proposals:
    """A sequence with one array (N_i, 4) for each image."""

    boxes: Boxes
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> Boxes:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.boxes[self.starts[index] : self.starts[index + 1]]


def save_proposals(per_image: Sequence[Boxes], path: Path) -> None:
    """Write one archive; equal proposals give equal bytes."""
    starts = np.cumsum([0, *(len(boxes) for boxes in per_image)], dtype=np.int64)
    np.savez(path, boxes=np.concatenate([empty(), *per_image]), starts=starts)


def load_proposals(path: Path, images: int) -> Proposals:
    """Read an archive for `images` images. Raises AnnotationError if it is for another number or damaged."""
    try:
        with np.load(path) as archive:
            stored = Proposals(archive["boxes"], archive["starts"])
    except FileNotFoundError as error:
        raise AnnotationError(f"{path} is missing: run the stage `propose`") from error
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise AnnotationError(f"{path} does not hold proposals: {error}; run the stage `propose` again") from error
    if len(stored) != images:
        raise AnnotationError(
            f"{path} holds the proposals of {len(stored)} images, the split has {images}: run the stage `propose` again"
        )
    return stored
