"""Random changes of training images: `train.augment` is a list of their names.

An image is changed at its size in training, together with its boxes. docs/own-data.md says when each change helps, and
docs/benchmarks.md what it gained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional

from detector.runtime.geometry.boxes import Boxes, area, clip
from detector.runtime.images import MEAN, Pixels

# `scale` draws a factor between the inverse of this and this. Large-scale jitter (Ghiasi et al., CVPR 2021) has .1 to 2
# for trainings of hundreds of epochs.
_MOST_SCALE = 2.0
# An object of which less than this part is inside the view is ignored: its extent cannot be seen.
_LEAST_INSIDE = 0.5
# Brightness, contrast and saturation change by up to this part (Howard 2013, section 2.3, draws from .5 to 1.5).
_COLOUR = 0.4


@dataclass(frozen=True)
class AnnotatedImage:
    """An image with its boxes while it is changed. pixels: uint8 RGB (H, W, 3); truth: float32 (G, 4), proposals:
    (N, 4), xyxy in its pixels; labels: int64 (G,); ignore, crowd: bool (G,)."""

    pixels: Pixels
    truth: Boxes
    labels: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    proposals: Boxes


Change = Callable[[AnnotatedImage, np.random.Generator], AnnotatedImage]


def draw_scale(names: Sequence[str], random: np.random.Generator) -> float:
    """Return the factor of its size in training at which an image is read; 1 without the change `scale`."""
    if "scale" not in names:
        return 1.0
    return float(np.exp(random.uniform(-np.log(_MOST_SCALE), np.log(_MOST_SCALE))))


def view(image: AnnotatedImage, height: int, width: int, random: np.random.Generator) -> AnnotatedImage:
    """Return height x width pixels at a random place: a part of a larger image, or a smaller one on the mean colour.

    Objects that lie outside are left out, and those of which less than half is inside are ignored.
    """
    rows, columns = (
        _places(have, want, random) for have, want in zip(image.pixels.shape, (height, width), strict=False)
    )
    pixels = np.full((height, width, 3), int(MEAN), np.uint8)
    pixels[rows.there, columns.there] = image.pixels[rows.here, columns.here]
    shift = np.array([columns.start, rows.start] * 2, np.float32)
    moved = image.truth - shift
    truth = clip(moved, height, width)
    share = area(truth) / np.maximum(area(moved), 1e-6)
    proposals = clip(image.proposals - shift, height, width)
    seen = share > 0
    ignore = image.ignore | (share < _LEAST_INSIDE)
    return AnnotatedImage(
        pixels, truth[seen], image.labels[seen], ignore[seen], image.crowd[seen], proposals[area(proposals) > 0]
    )


@dataclass(frozen=True)
class _Places:
    """Where one side of a view lies: it begins at `start` of the image; `here` and `there` are the common pixels."""

    start: int
    here: slice
    there: slice


def _places(have: int, want: int, random: np.random.Generator) -> _Places:
    start = int(random.integers(min(0, have - want), max(0, have - want) + 1))
    common = min(have, want)
    return _Places(start, slice(max(0, start), max(0, start) + common), slice(max(0, -start), max(0, -start) + common))


def _mirror(axis: int) -> Change:
    """Return a change that mirrors half of the images: axis 0 along x, axis 1 along y."""

    def change(image: AnnotatedImage, random: np.random.Generator) -> AnnotatedImage:
        if random.random() >= 0.5:
            return image
        side = image.pixels.shape[1 - axis]

        def mirrored(boxes: Boxes) -> Boxes:
            other = boxes.copy()
            other[:, axis], other[:, axis + 2] = side - boxes[:, axis + 2], side - boxes[:, axis]
            return other

        pixels = image.pixels[:, ::-1] if axis == 0 else image.pixels[::-1]
        return replace(image, pixels=pixels, truth=mirrored(image.truth), proposals=mirrored(image.proposals))

    return change


def _colour(image: AnnotatedImage, random: np.random.Generator) -> AnnotatedImage:
    pixels = torch.from_numpy(image.pixels.copy()).permute(2, 0, 1)
    for change in (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation):
        pixels = change(pixels, random.uniform(1 - _COLOUR, 1 + _COLOUR))
    return replace(image, pixels=pixels.permute(1, 2, 0).contiguous().numpy())


# Those that keep the size. `scale` is `draw_scale` and `view`, because the image is read at another size for it.
CHANGES: dict[str, Change] = {"flip": _mirror(0), "flip_vertical": _mirror(1), "colour": _colour}
