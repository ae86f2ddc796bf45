"""Measures how far the pixels of a run, or of a prefix, are from those of a baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.runtime.artifact import PixelBaseline
from detector.runtime.pixel_counts import EDGES, PLACES, PixelCounts, SampledImage
from jobs.rules.drift import Drift
from jobs.rules.policy import PREFIX_IMAGES, TAIL
from jobs.rules.significance import histograms_differ, more_often

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Tail:
    """One end of the scale of a number: images that are further out there than nearly all of the baseline.

    margin: bins that lie at least between the baseline's median and such an image, so that a small shift is none.
    """

    number: str
    high: bool
    margin: int
    text: str


# Sharpness: below half of the median. Brightness: 24 of 255 levels. Clipped pixels: 6 % of them. Colour: 8 levels.
TAILS: dict[str, tuple[Tail, ...]] = {
    "blur_drift": (Tail("sharpness", False, 4, "a sharpness"),),
    "darkness_drift": (Tail("brightness", False, 6, "a brightness"),),
    "glare_drift": (Tail("clipped_bright", True, 3, "a share of clipped bright pixels"),),
    "colour_drift": tuple(
        Tail(number, high, 4, text)
        for number, text in (("red_green", "red minus green"), ("blue_yellow", "blue minus yellow"))
        for high in (False, True)
    ),
}
# With fewer images in a sample, single ones would decide whether they resemble each other.
LEAST_COMPARED = 20
# Bins of `aspect` whose images are higher than wide.
_PORTRAIT = EDGES["aspect"].index(1.0) + 1


def measure_pixels(seen: PixelCounts, base: PixelBaseline | None, there: str, *, is_test: bool) -> dict[str, Drift]:
    """The measures of the pixel rules. base: what is compared with; there: its name in sentences, as "test".

    is_test: whether it is of the artifact's test images, which may have another size than the run's.
    """
    reason = None
    if base is None:
        reason = f"no pixels were counted on {there}" if not is_test else "the artifact has no counts of pixels"
    elif seen.images < PREFIX_IMAGES or base.images < PREFIX_IMAGES:
        reason = f"{min(seen.images, base.images):,} images; needs {PREFIX_IMAGES} here and on {there}"
    elif any(len(base.histograms.get(name, ())) != len(counts) for name, counts in seen.histograms.items()):
        reason = f"the pixels on {there} were counted in another way"
    if reason or base is None:
        return dict.fromkeys(PIXEL_RULES, Drift(None, reason or ""))
    theirs = {name: np.array(counts, np.int64) for name, counts in base.histograms.items()}
    found = {rule: _tails(tails, seen.histograms, theirs, there) for rule, tails in TAILS.items()}
    found["portrait_drift"] = _portrait(seen.histograms["aspect"], theirs["aspect"], there)
    found["frame_drift"] = (
        Drift(None, "sizes are compared with an earlier run only")
        if is_test
        else _frames(seen.histograms, theirs, there)
    )
    found["near_duplicates"] = _near_duplicates(seen, base, there)
    return found


def _tails(tails: Sequence[Tail], ours: dict[str, Counts], theirs: dict[str, Counts], there: str) -> Drift:
    """The tail whose share has grown most."""
    best = max((_tail(tail, ours[tail.number], theirs[tail.number], there) for tail in tails), key=_grown)
    return Drift(best.value, best.text, min(1.0, len(tails) * best.chance))


def _grown(drift: Drift) -> float:
    return -1.0 if drift.value is None else drift.value


def _tail(tail: Tail, ours: Counts, theirs: Counts, there: str) -> Drift:
    bins = tail_bins(tail, theirs)
    if bins.start == bins.stop:
        return Drift(None, f"half of the images on {there} lie at that end themselves")
    seen, before = (int(counts[bins].sum()) for counts in (ours, theirs))
    edges = EDGES[tail.number]
    edge = edges[min(bins.start - 1, len(edges) - 1)] if tail.high else edges[max(bins.stop - 1, 0)]
    side = "above" if tail.high else "below"
    images, of = int(ours.sum()), int(theirs.sum())
    text = (
        f"{100 * seen / images:.0f} % of the images have {tail.text} {side} {edge:.3g}, {100 * before / of:.0f} % on "
        f"{there}"
    )
    return Drift(seen / images - before / of, text, more_often(seen, images, before, of))


def tail_bins(tail: Tail, theirs: Counts) -> slice:
    """The bins of the tail: at most TAIL of the baseline lie there, and the margin between them and its median.

    One bin may hold many images, and less than half of TAIL may lie beyond it. Then this bin belongs to the tail too:
    otherwise nobody would see a run that lies in this bin as a whole. The slice is empty where the margin leaves no
    bin.
    """
    counts = theirs[::-1] if tail.high else theirs
    below = np.cumsum(counts) / counts.sum()
    median = int(np.searchsorted(below, 0.5))
    count = int((below <= TAIL).sum())
    if count == 0 or below[count - 1] < TAIL / 2:
        count += 1
    count = max(0, min(count, median - tail.margin + 1))
    return slice(len(counts) - count, len(counts)) if tail.high else slice(0, count)


def _portrait(ours: Counts, theirs: Counts, there: str) -> Drift:
    seen, before = int(ours[:_PORTRAIT].sum()), int(theirs[:_PORTRAIT].sum())
    images, of = int(ours.sum()), int(theirs.sum())
    chance = min(more_often(seen, images, before, of), more_often(images - seen, images, of - before, of))
    text = f"{100 * seen / images:.0f} % of the images are higher than wide, {100 * before / of:.0f} % on {there}"
    return Drift(abs(seen / images - before / of), text, min(1.0, 2 * chance))


def _frames(ours: dict[str, Counts], theirs: dict[str, Counts], there: str) -> Drift:
    """The larger share of images that have another size, or another aspect, than before (total variation)."""
    found = []
    for number, text in (("size", "longer side"), ("aspect", "aspect")):
        here, before = ours[number], theirs[number]
        shares, known = here / here.sum(), before / before.sum()
        edges, most = (0.0, *EDGES[number]), int((shares - known).argmax())
        said = f"{100 * shares[most]:.0f} % of the images have a {text} from {edges[most]:.4g} on, "
        said += f"{100 * known[most]:.0f} % on {there}"
        moved = float(np.abs(shares - known).sum() / 2)
        said = said if moved else f"as on {there}"
        found.append(Drift(moved, said, min(1.0, 2 * histograms_differ(here, before))))
    return max(found, key=lambda drift: drift.value or 0.0)


def _near_duplicates(seen: PixelCounts, base: PixelBaseline, there: str) -> Drift:
    """Compare no more images, and no larger share of all, than were compared for the baseline: in a larger sample, or
    in one that has more of the run, more images find the near-duplicate that they have."""
    most = min(base.sampled, base.sampled * seen.images // base.images)
    images, near = len(seen.compared(most)), len(seen.near_duplicates(most))
    if images < LEAST_COMPARED:
        return Drift(None, f"{images} images, for a sample like that of {there}; needs {LEAST_COMPARED}")
    of, before = base.sampled, base.near_duplicates
    text = f"{near} of a sample of {images} images have a near-duplicate in it, {before} of {of} on {there}"
    return Drift(near / images - before / of, text, more_often(near, images, before, of))


def examples(rule: str, seen: PixelCounts, base: PixelBaseline | None) -> list[SampledImage]:
    """The images of the sample that a rule is about, the worst first; all of them for a rule over boxes or sizes."""
    if rule == "near_duplicates":
        return seen.near_duplicates()
    sample = seen.sample()
    if base is None:
        return sample
    theirs = {name: np.array(counts, np.int64) for name, counts in base.histograms.items()}
    if rule == "portrait_drift":
        more = (
            seen.histograms["aspect"][:_PORTRAIT].sum() / seen.images > theirs["aspect"][:_PORTRAIT].sum() / base.images
        )
        return [image for image in sample if (image.bins[PLACES["aspect"]] < _PORTRAIT) == more]
    if rule not in TAILS:
        return sample
    best = max(TAILS[rule], key=lambda tail: _grown(_tail(tail, seen.histograms[tail.number], theirs[tail.number], "")))
    bins, place = tail_bins(best, theirs[best.number]), PLACES[best.number]
    worst: Callable[[SampledImage], int] = lambda image: image.bins[place] * (-1 if best.high else 1)  # noqa: E731
    return sorted((image for image in sample if bins.start <= image.bins[place] < bins.stop), key=worst)


PIXEL_RULES = (*TAILS, "portrait_drift", "frame_drift", "near_duplicates")
