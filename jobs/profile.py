"""What a run's images and boxes are like, as a whole and by prefix: the drift rules compare it with a baseline.

A prefix is the first folders of an image's key below INPUT. Memory does not grow with the run: each prefix has
histograms and a small sample, and there are at most MOST_PREFIXES of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.runtime.artifact import Baseline
from detector.runtime.baseline import BINS, Histograms
from detector.runtime.pixel_counts import CountedImage, PixelCounts, counted_image
from jobs.box_arrays import BoxArrays, box_arrays
from jobs.formats import Plan, Record, RunProfile

# With more prefixes, each has few images, or nobody would look at each of them.
MOST_PREFIXES: Final = 1000
# Images of a prefix whose hashes are compared, and which may be shown: 1,000 prefixes hold some 30 MB of them.
PREFIX_SAMPLE: Final = 64


class Profile:
    """Counts of the images with status ok of a run, or of one of its prefixes, in whatever order they are added.

    images: their number; histograms: their boxes whose label the artifact has; counts, squares: sums of the number of
    an image's boxes in the tenths of the scores that are compared, and of its square; pixels: of images with a quality.
    """

    def __init__(self, classes: Sequence[str], pixels: PixelCounts) -> None:
        self.images = 0
        self.histograms = Histograms(len(classes))
        self.counts = self.squares = 0
        self.pixels = pixels
        self._classes = tuple(classes)

    def add(self, own: _Counted) -> None:
        """Count images with status ok."""
        self.images += own.images
        self.histograms.add(own.boxes.labels, own.boxes.scores, own.boxes.shares)
        self.counts += int(own.compared.sum())
        self.squares += int((own.compared**2).sum())
        self.pixels.add(own.pixels)

    def baseline(self) -> Baseline:
        """The counts as they are stored."""
        return Baseline(
            images=self.images,
            boxes=dict(zip(self._classes, self.histograms.boxes.tolist(), strict=True)),
            sizes=self.histograms.sizes.tolist(),
            pixels=self.pixels.baseline() if self.pixels.images else None,
        )


class Profiles:
    """The profile of a run, and those of its prefixes; `add` its records in any order.

    whole: of the whole run; prefixes: by prefix, which ends with a slash; None where there are more than
    MOST_PREFIXES, or the policy wants none.
    """

    def __init__(self, plan: Plan, classes: Sequence[str], first: int, depth: int) -> None:
        """classes: those of the artifact; first: see Profile; depth: number of folders that make a prefix, 0: none."""
        self._input = plan.input
        self._classes, self._first, self._depth = classes, first, depth
        self._numbers = {label: number for number, label in enumerate(classes)}
        self.whole = Profile(classes, PixelCounts())
        self.prefixes: dict[str, Profile] | None = {} if depth else None

    def add(self, records: Sequence[Record]) -> None:
        """Count records, of any status."""
        ok = [record for record in records if record.status == "ok"]
        for prefix, own in groupby(ok, self._prefix):
            counted = _counted(list(own), self._numbers, self._first / BINS)
            self.whole.add(counted)
            found = self._of(prefix)
            if found is not None:
                found.add(counted)

    def _of(self, prefix: str | None) -> Profile | None:
        """The profile of a prefix; None where there is none."""
        if prefix is None or self.prefixes is None:
            return None
        if prefix not in self.prefixes:
            if len(self.prefixes) == MOST_PREFIXES:
                self.prefixes = None
                return None
            self.prefixes[prefix] = Profile(self._classes, PixelCounts(PREFIX_SAMPLE))
        return self.prefixes[prefix]

    def _prefix(self, record: Record) -> str | None:
        if self.prefixes is None:
            return None
        folders = record.image.removeprefix(self._input).split("/")[:-1][: self._depth]
        return "/".join(folders) + "/" if len(folders) == self._depth else None

    def note(self, earlier: RunProfile | None) -> str:
        """What a person should know about the prefixes that are judged; "" for nothing. earlier: of the run before."""
        if self._depth and self.prefixes is None:
            return f"more than {MOST_PREFIXES:,} prefixes: none of them is judged"
        if self.prefixes and earlier is not None and earlier.prefix_depth != self._depth:
            return f"--prefix-depth is {self._depth}, and it was {earlier.prefix_depth} in the run before"
        return ""

    def published(self, run: str) -> RunProfile:
        """The profile as it is published, for the run that names this one with --since."""
        found = (
            {} if self.prefixes is None else {name: self.prefixes[name].baseline() for name in sorted(self.prefixes)}
        )
        return RunProfile(run=run, prefix_depth=self._depth, whole=self.whole.baseline(), prefixes=found)


@dataclass(frozen=True)
class _Counted:
    """Some images with status ok. boxes: those whose label the artifact has; compared: int64 (images,), the number of
    each image's boxes that are compared; pixels: of images with a quality, for `PixelCounts.add`."""

    images: int
    boxes: BoxArrays
    compared: NDArray[np.int64]
    pixels: list[CountedImage | None]


def _counted(records: Sequence[Record], numbers: Mapping[str, int], least: float) -> _Counted:
    """Records to count. numbers: of the labels; least: score from which on boxes are compared."""
    boxes = box_arrays(records, numbers)
    compared = np.bincount(boxes.records[boxes.scores >= least], minlength=len(records))
    pixels = [
        counted_image(record.image, record.image_quality, record.height, record.width)
        for record in records
        if record.image_quality is not None and record.height is not None and record.width is not None
    ]
    return _Counted(len(records), boxes, compared, pixels)
