"""Selective Search (Uijlings, van de Sande, Gevers and Smeulders, IJCV 2013).

The image is segmented in several colour spaces and at several scales. Each segmentation is grouped by several measures
of similarity. The boxes of all regions of all groupings are the proposals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.proposals import colour, grouping, ranking, regions, segmentation
from detector.proposals.shrink import shrink, small_shape
from detector.runtime.geometry.boxes import Boxes, clip, empty

Pixels = NDArray[np.uint8]
Mode = Literal["fast", "quality"]


@dataclass(frozen=True)
class _Search:
    """The settings of one mode.

    area: the image is reduced to about this number of pixels, which bounds time and memory. min_region: regions with
    fewer of these pixels are joined to a neighbour. scales: Felzenszwalb and Huttenlocher's k in grey levels; small
    ones find parts of objects, and large ones whole objects.
    """

    area: int
    min_region: int
    scales: tuple[float, ...]
    colour_spaces: tuple[Callable[[colour.Planes], colour.Planes], ...]


class _Segmentation(NamedTuple):
    """One segmentation with the arrays that grouping needs, as `regions` and `segmentation` describe them."""

    size: NDArray[np.int32]
    box: NDArray[np.int32]
    counts: NDArray[np.int32]
    histogram: NDArray[np.uint16]
    pairs: NDArray[np.int32]


_MODES: dict[Mode, _Search] = {
    "fast": _Search(256 * 192, 16, (80, 400, 1000, 2500), (colour.to_lab, colour.to_hsv)),
    "quality": _Search(400 * 300, 40, (120, 600, 1500, 4000), (colour.to_lab, colour.to_hsv, colour.to_rgi)),
}
# Each row is a strategy: the measures in its similarity, of colour, texture, size and fill.
_STRATEGIES = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 0, 1]], np.bool_)


def _segmentations(colours: colour.Planes, codes: NDArray[np.uint8], search: _Search) -> Iterator[_Segmentation]:
    """Yield the segmentations of one colour space, finest first; each joins regions of the one before."""
    height, width = codes.shape
    finest, *coarser = map(np.float32, search.scales)
    weights = segmentation.weigh(colours)
    edges, starts = segmentation.sorted_edges(weights)
    labels, count = segmentation.segment(edges, starts, height, width, finest, search.min_region)
    pairs, weights = segmentation.neighbours(labels, weights, count)
    size, box, counts = regions.describe(labels, count, colours, codes)
    yield _Segmentation(size, box, counts, regions.histograms(size, counts), pairs)
    for k in coarser:
        names, count = segmentation.coarsen(pairs, weights, size, k)
        pairs, weights = segmentation.coarse_neighbours(pairs, weights, names, count)
        size, box, counts = regions.combine(names, count, size, box, counts)
        yield _Segmentation(size, box, counts, regions.histograms(size, counts), pairs)


class Candidates(NamedTuple):
    """All boxes int32 (N, 4) xyxy of a reduced image with their levels int32 (N,), and its height and width."""

    boxes: NDArray[np.int32]
    levels: NDArray[np.int32]
    height: int
    width: int


def _candidates(planes: colour.Planes, search: _Search) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return all boxes int32 (N, 4) and levels int32 (N,) of a reduced image.

    The last region of a grouping, which is the whole image, has level 1.
    """
    smooth = colour.blur(planes)
    codes = regions.texture_codes(smooth)
    boxes, levels = [], []
    for convert in search.colour_spaces:
        for found in _segmentations(convert(smooth), codes, search):
            count = len(found.size)
            level = np.arange(2 * count - 1, 0, -1, dtype=np.int32)
            # Regions of the segmentation itself: the larger ones come first.
            level[np.argsort(-found.size, kind="stable")] = np.arange(count, 2 * count)
            shared = grouping.overlaps(found.pairs, found.histogram)
            for use in _STRATEGIES:
                boxes.append(grouping.group(*found, shared, codes.size, use))
                levels.append(level)
    return np.concatenate(boxes), np.concatenate(levels)


def _rgb(image: Pixels) -> Pixels:
    """Return uint8 RGB (H, W, 3), contiguous, of a grey, RGB or RGBA image. Raises ValueError for other arrays."""
    known = image.dtype == np.uint8 and 0 not in image.shape
    if known and image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    elif not (known and image.ndim == 3 and image.shape[2] in (3, 4)):
        raise ValueError(
            "selective_search takes uint8 grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4) with at least one pixel, "
            f"not {image.dtype} {image.shape}"
        )
    return np.ascontiguousarray(image[:, :, :3])


def selective_search(image: Pixels, max_boxes: int | None = 2000, mode: Mode = "fast") -> Boxes:
    """Return boxes that may contain an object, best first.

    image: uint8 grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4), whose alpha is not used; any size from 1x1 on.
    mode: "quality" uses more pixels and one more colour space than "fast", and takes about 2.5 times as long.
    max_boxes: None keeps all.
    Returns float32 (N, 4) xyxy in the image's pixels, half-open (0 <= x1 < x2 <= W), N <= max_boxes, no two equal.
    The same pixels give the same boxes on every call and in every thread; thread-safe.

    Raises ValueError for an array of another shape or dtype and for another mode.
    """
    if mode not in _MODES:
        raise ValueError(f"selective_search has the modes {', '.join(_MODES)}, not {mode!r}")
    rgb = _rgb(image)
    if max_boxes is not None and max_boxes < 1:
        return empty()
    height, width = rgb.shape[:2]
    found = candidates(rgb, mode)
    best = found.boxes[ranking.rank(*found)[:max_boxes]]
    back = np.array([width / found.width, height / found.height] * 2)
    return clip((best * back).astype(np.float32), height, width)


def candidates(rgb: Pixels, mode: Mode) -> Candidates:
    """Return the boxes of all groupings of an image, uint8 (H, W, 3), of which some are equal, without an order."""
    height, width = small_shape(rgb.shape[0], rgb.shape[1], _MODES[mode].area)
    return Candidates(*_candidates(shrink(rgb, height, width), _MODES[mode]), height, width)
