"""Counts what the pixels of images are like, so that a run can be compared with the artifact's test images or with an
earlier run.

The stage `evaluate` counts the test split for the artifact, and the batch job counts each run, with this code.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.runtime.artifact import PixelBaseline
from detector.runtime.hashes import near_pairs
from detector.runtime.image_quality import small_size


def _steps(first: float, last: float, count: int) -> tuple[float, ...]:
    return tuple(float(edge) for edge in np.linspace(first, last, count + 1))


def _octaves(first: int, last: int, parts: int) -> tuple[float, ...]:
    return tuple(2.0 ** (number / parts) for number in range(first * parts, last * parts + 1))


# The lower edges of the bins of each number; what lies below the first edge has a bin of its own. Sharpness and sizes
# are ratios, so that their bins grow: a quarter of an octave is a factor of 1.19.
EDGES: dict[str, tuple[float, ...]] = {
    "sharpness": _octaves(0, 15, 4),
    "brightness": _steps(4, 252, 62),
    "clipped_bright": _steps(0.02, 0.98, 48),
    "red_green": _steps(-64, 64, 64),
    "blue_yellow": _steps(-64, 64, 64),
    "aspect": _octaves(-2, 2, 8),
    "size": _octaves(4, 15, 4),  # the longer side of the image in pixels
}
# The place of each number in those of an image.
PLACES = {name: place for place, name in enumerate(EDGES)}
# Images whose hashes are compared with each other; they are drawn by their names.
SAMPLED = 256
# Near-duplicates also lie in the same bin of these numbers, or in neighbouring ones: different objects on white often
# share a hash.
_ALIKE = ("brightness", "red_green", "blue_yellow", "aspect")
# Contrast, in levels, below which an image is blank: its hash says nothing.
_BLANK = 2.0


class CountedImage(NamedTuple):
    """An image to count. numbers: one for each of EDGES, in their order; hash: its perceptual hash of 64 bits; blank:
    whether it has too little contrast to be a near-duplicate."""

    name: str
    numbers: tuple[float, ...]
    hash: int
    blank: bool = False


class SampledImage(NamedTuple):
    """An image of the sample. draw: a number of chance that follows from its name; bins: those of its numbers."""

    draw: int
    name: str
    hash: int
    bins: tuple[int, ...]
    blank: bool


class PixelCounts:
    """Counts of images, in histograms of each number, and a sample of them.

    All of it is the same in whatever order and groups images are added. histograms: int64, by the names in EDGES.
    """

    def __init__(self, sampled: int = SAMPLED) -> None:
        """sampled: the most images in the sample: those with the lowest digests of their names."""
        self.images = 0
        self.histograms = {name: np.zeros(len(edges) + 1, np.int64) for name, edges in EDGES.items()}
        self._most = sampled
        self._heap: list[tuple[int, SampledImage]] = []  # draws negative: the highest one is at the top

    def add(self, found: Iterable[CountedImage | None]) -> None:
        """Count images, except None."""
        images = [image for image in found if image is not None]
        if not images:
            return
        self.images += len(images)
        numbers = np.array([image.numbers for image in images], np.float64)
        bins = np.stack(
            [
                np.searchsorted(edges, column, side="right")
                for edges, column in zip(EDGES.values(), numbers.T, strict=True)
            ]
        )
        for name, row in zip(EDGES, bins, strict=True):
            counts = self.histograms[name]
            counts += np.bincount(row, minlength=len(counts))
        for image, own in zip(images, bins.T, strict=True):
            draw = int.from_bytes(hashlib.sha256(image.name.encode(errors="surrogatepass")).digest()[:8])
            if len(self._heap) < self._most:
                heapq.heappush(self._heap, (-draw, _sampled(draw, image, own)))
            elif -draw > self._heap[0][0]:
                heapq.heapreplace(self._heap, (-draw, _sampled(draw, image, own)))

    def sample(self) -> list[SampledImage]:
        """Return the images of the sample, in the order of their draws."""
        return sorted(image for _, image in self._heap)

    def compared(self, most: int | None = None) -> list[SampledImage]:
        """Return those of the first `most` images of the sample, itself a sample, that are not blank."""
        return [image for image in self.sample()[:most] if not image.blank]

    def near_duplicates(self, most: int | None = None) -> list[SampledImage]:
        """Return the images of `compared(most)` that have a near-duplicate in it, those with most of them first."""
        found = self.compared(most)
        near = near_pairs(np.array([image.hash for image in found], np.uint64))
        for name in _ALIKE:
            bins = np.array([image.bins[PLACES[name]] for image in found], np.int64)
            near &= np.abs(bins[:, None] - bins) <= 1
        others = near.sum(axis=1) - 1
        order = sorted(range(len(found)), key=lambda place: -others[place])
        return [found[place] for place in order if others[place]]

    def baseline(self) -> PixelBaseline:
        """Return the counts as they are stored."""
        return PixelBaseline(
            images=self.images,
            histograms={name: counts.tolist() for name, counts in self.histograms.items()},
            sampled=len(self.compared()),
            near_duplicates=len(self.near_duplicates()),
        )


def _sampled(draw: int, image: CountedImage, bins: NDArray[np.int64]) -> SampledImage:
    return SampledImage(draw, image.name, image.hash, tuple(bins.tolist()), image.blank)


def counted_image(name: str, quality: Any, height: int, width: int) -> CountedImage | None:
    """Return an image to count; None for one that is so thin that its sharpness cannot be measured.

    quality: an `ImageQuality`, or a record with its fields; height, width: in pixels.
    """
    if min(small_size(height, width)) < 3:
        return None
    numbers = (float(getattr(quality, field)) for field in EDGES if field != "size")
    blank = quality.contrast < _BLANK
    return CountedImage(name, (*numbers, float(max(height, width))), int(quality.perceptual_hash, 16), blank)
