"""Measures how far a run's detections are from those on the artifact's test images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.runtime.artifact import Artifact, Baseline
from detector.runtime.baseline import BINS, first_whole_bin
from jobs.profile import Profile
from jobs.rules.policy import BOX_RULES, DRIFT_BOXES, DRIFT_IMAGES
from jobs.rules.significance import means_differ, psi_this_large


@dataclass(frozen=True)
class Drift:
    """One measure; `value` is None when there is too little data to judge, and `text` says why. chance: the probability
    that a population without drift moves as far."""

    value: float | None
    text: str
    chance: float = 0.0


def shifts(run: NDArray[np.float64], baseline: NDArray[np.float64]) -> NDArray[np.float64]:
    """The part of each bin (B,) in the population stability index of two histograms (B,): (p - q) * ln(p / q) of its
    shares, which is 0 where the share did not move, and above 0 elsewhere.

    Half a count is added to every bin, because an empty bin has no logarithm.
    """
    p, q = (counts + 0.5 for counts in (run, baseline))
    p, q = p / p.sum(), q / q.sum()
    found: NDArray[np.float64] = (p - q) * np.log(p / q)
    return found


def psi(run: NDArray[np.float64], baseline: NDArray[np.float64]) -> float:
    """Population stability index of two histograms (B,): the sum of their `shifts`."""
    return float(shifts(run, baseline).sum())


def score_bins(first: int) -> list[str]:
    """The names of the tenths of the scores, from bin `first` on."""
    return [f"score {i / BINS:g} to {(i + 1) / BINS:g}" for i in range(first, BINS)]


def first_compared(artifact: Artifact, min_score: float) -> int:
    """The first of those tenths of the scores that lie above both thresholds, the run's and the artifact's."""
    return first_whole_bin(max(min_score, artifact.least_score))


def unjudged(reason: str) -> dict[str, Drift]:
    """The measures of the rules over boxes, none of them judged."""
    return dict.fromkeys(BOX_RULES, Drift(None, reason))


def measure(seen: Profile, artifact: Artifact, min_score: float, *, tiled: bool = False) -> dict[str, Drift]:
    """The measures of the rules over boxes for a whole run, against the artifact's test images.

    tiled: whether the run looked at tiles as well, and so found other boxes than the measurement of the artifact. The
    limits on the number of images and boxes keep chance away from the limits on the measures.
    """
    base = artifact.baseline
    if base is None or not base.images:
        return unjudged("the artifact has no baseline")
    if tiled:
        return unjudged("the artifact's baseline was measured without tiles")
    found = compare(seen, base, artifact, min_score, "test", images=DRIFT_IMAGES, boxes=DRIFT_BOXES)
    return {name: Drift(drift.value, drift.text) for name, drift in found.items()}


def compare(
    seen: Profile, base: Baseline, artifact: Artifact, min_score: float, there: str, *, images: int, boxes: int
) -> dict[str, Drift]:
    """The measures of the rules over boxes for a run or a prefix, against a baseline that `there` names in sentences.

    images, boxes: the least numbers that are compared. Run and baseline are compared in those tenths of the scores that
    lie above both thresholds.
    """
    classes, first = artifact.classes, first_compared(artifact, min_score)
    if seen.images < images or not base.images:
        return unjudged(f"{seen.images:,} images; needs {images}")
    if first == BINS:
        return unjudged(f"no whole tenth of the scores from {min_score} on")
    run = seen.histograms.boxes[:, first:].astype(np.float64)
    known = np.array([base.boxes.get(name, [0] * BINS) for name in classes], np.float64)[:, first:]
    per_image, expected = run.sum() / seen.images, known.sum() / base.images
    variance = max(expected, seen.squares / seen.images - (seen.counts / seen.images) ** 2)
    found = {
        BOX_RULES[0]: Drift(
            per_image / expected if expected else None,
            f"{per_image:.2f} boxes an image with score {first / BINS:g} or more, {expected:.2f} on {there}",
            means_differ(per_image, expected, variance, seen.images, base.images),
        )
    }
    few = min(run.sum(), known.sum())
    if few < boxes:
        short = Drift(None, f"{few:,.0f} boxes; needs {boxes} here and on {there}")
        return found | dict.fromkeys(BOX_RULES[1:], short)
    bins = score_bins(first)
    for name, axis, titles in ((BOX_RULES[1], 1, classes), (BOX_RULES[2], 0, bins)):
        ours, theirs = run.sum(axis), known.sum(axis)
        shares, before = ours / ours.sum(), theirs / theirs.sum()
        most = int(np.abs(shares - before).argmax())
        moved = psi(ours, theirs)
        counted = (min(seen.images, int(ours.sum())), min(base.images, int(theirs.sum())))
        found[name] = Drift(
            moved,
            f"{titles[most]}: {100 * shares[most]:.0f} % of the boxes, {100 * before[most]:.0f} % on {there}",
            psi_this_large(moved, int((ours + theirs > 0).sum()), *counted),
        )
    return found
