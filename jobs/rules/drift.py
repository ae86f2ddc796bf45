"""Measures how far a run's detections are from those on the artifact's test images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.runtime.artifact import Artifact
from detector.runtime.baseline import BINS, Histograms, first_whole_bin
from jobs.rules.policy import DRIFT_BOXES, DRIFT_IMAGES


@dataclass(frozen=True)
class Drift:
    """One measure; `value` is None when there is too little data to judge, and `text` says why."""

    value: float | None
    text: str


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


def measure(
    seen: Histograms, images: int, artifact: Artifact, min_score: float, *, tiled: bool = False
) -> dict[str, Drift]:
    """The measures of the drift rules. seen: the boxes of the run; images: those of the run that could be read; tiled:
    whether the run looked at tiles as well, and so found other boxes than the measurement of the artifact.

    Run and baseline are compared in those tenths of the scores that lie above both thresholds.
    """
    first = first_whole_bin(max(min_score, artifact.least_score))
    base = artifact.baseline
    names = ("boxes_per_image_drift", "label_drift", "score_drift")
    reason = None
    if base is None or not base.images:
        reason = "the artifact has no baseline"
    elif tiled:
        reason = "the artifact's baseline was measured without tiles"
    elif images < DRIFT_IMAGES:
        reason = f"{images:,} images; needs {DRIFT_IMAGES}"
    elif first == BINS:
        reason = f"no whole tenth of the scores from {min_score} on"
    if reason or base is None:
        return dict.fromkeys(names, Drift(None, reason or ""))

    run = seen.boxes[:, first:].astype(np.float64)
    known = np.array([base.boxes.get(name, [0] * BINS) for name in artifact.classes], np.float64)[:, first:]
    per_image, expected = run.sum() / images, known.sum() / base.images
    ratio = per_image / expected if expected else None
    found = {
        names[0]: Drift(
            ratio, f"{per_image:.2f} boxes an image with score {first / BINS:g} or more, {expected:.2f} on test"
        )
    }
    few = min(run.sum(), known.sum())
    if few < DRIFT_BOXES:
        short = Drift(None, f"{few:,.0f} boxes; needs {DRIFT_BOXES} here and on test")
        return found | dict.fromkeys(names[1:], short)
    bins = score_bins(first)
    for name, axis, titles in ((names[1], 1, artifact.classes), (names[2], 0, bins)):
        ours, theirs = run.sum(axis), known.sum(axis)
        shares, before = ours / ours.sum(), theirs / theirs.sum()
        most = int(np.abs(shares - before).argmax())
        found[name] = Drift(
            psi(ours, theirs),
            f"{titles[most]}: {100 * shares[most]:.0f} % of the boxes, {100 * before[most]:.0f} % on test",
        )
    return found
