"""Strata by drift: images with boxes of a kind whose share has moved since a reference are drawn more often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from detector.runtime.baseline import BINS, first_whole_bin, tenths
from jobs.errors import UsageError
from jobs.formats import Record
from jobs.published_run import PublishedRun
from jobs.rules.drift import score_bins, shifts
from jobs.rules.policy import DRIFT_BOXES
from jobs.sampling.strata import EMPHASIS, NOTHING, Strata
from jobs.tally import Tally

UNMOVED = "moved less than these"
# Kinds with a stratum of their own. Each stratum gets two draws at least, so that many would leave few draws for those
# that have moved most.
KINDS = 5
_AT_ONCE = 1000


@dataclass(frozen=True)
class _Kind:
    """A kind of box: a label, or a tenth of the scores. shift: its part in the population stability index."""

    name: str
    shift: float
    share: float
    before: float

    def title(self) -> str:
        """The stratum's name."""
        return f"{self.name}: {100 * self.share:.1f} % of the boxes, {100 * self.before:.1f} % in the reference"


def by_drift(run: PublishedRun, reference: PublishedRun | None) -> Strata:
    """By the kind of an image's boxes whose share has moved most: a label, or a tenth of the scores.

    reference: a run of the same artifact; None: the detections on the artifact's test images. The emphasis of a kind
    grows with its shift, from 1 to EMPHASIS; images without boxes are drawn like those whose kinds have hardly moved.
    Raises UsageError where the two cannot be compared, and what `PublishedRun.records` raises.
    """
    labels, first, theirs = _reference(run, reference)
    ours = _counts(run, labels)[:, first:]
    few = min(ours.sum(), theirs.sum())
    if few < DRIFT_BOXES:
        raise UsageError(
            f"--by drift: {few:,.0f} boxes are too few to compare, {DRIFT_BOXES} are needed in the run and in the "
            "reference; use --by random"
        )
    kinds = {
        kind.name: kind for kind in (*_kinds(labels, ours, theirs, 1), *_kinds(score_bins(first), ours, theirs, 0))
    }
    most = sorted(kinds.values(), key=lambda kind: (-kind.shift, kind.name))[:KINDS]
    moved = {kind.name: kind for kind in most if kind.shift > 0}
    names = ["" for _ in range(first)] + score_bins(first)

    def of(record: Record) -> str:
        if not record.boxes:
            return NOTHING
        bins = tenths(np.array([box.score for box in record.boxes]))
        own = [(box.label, names[number]) for box, number in zip(record.boxes, bins, strict=True) if number >= first]
        found = [moved[name] for label, score in own for name in (f"label {label}", score) if name in moved]
        return max(found, key=lambda kind: (kind.shift, kind.name)).title() if found else UNMOVED

    emphasis = {kind.title(): 1 + (EMPHASIS - 1) * kind.shift / most[0].shift for kind in moved.values()}
    return Strata(of, emphasis)


def _reference(run: PublishedRun, reference: PublishedRun | None) -> tuple[list[str], int, NDArray[np.float64]]:
    """The labels, the first tenth of the scores that both have whole, and the reference's counts of boxes from there
    on, by label and score."""
    labels = run.labels()
    if reference is not None:
        if _maker(reference) != _maker(run):
            raise UsageError(
                f"--reference {reference.store.uri}: was made by another artifact or with other tiles, which find "
                "other boxes in any case; name a run of the same artifact"
            )
        first = _first(max(run.manifest.min_score, reference.manifest.min_score))
        return labels, first, _counts(reference, labels)[:, first:]
    base = run.baseline()
    if base is None:
        raise UsageError(
            "--by drift: the artifact has no baseline, the detections on its test images; name an earlier run with "
            "--reference, or use --by random"
        )
    if run.manifest.tile is not None:
        raise UsageError(
            "--by drift: the artifact's baseline was measured without tiles; name an earlier run with --reference, or "
            "use --by random"
        )
    first = _first(max(run.manifest.min_score, run.least_counted()))
    counts = np.array([base.boxes.get(label, [0] * BINS) for label in labels], np.float64)
    return labels, first, counts[:, first:]


def _maker(run: PublishedRun) -> tuple[object, ...]:
    return run.manifest.lineage.artifact_sha256, run.manifest.tile, run.manifest.overlap


def _first(least: float) -> int:
    first = first_whole_bin(least)
    if first == BINS:
        raise UsageError(f"--by drift: there is no whole tenth of the scores from {least:g} on; use --by random")
    return first


def _counts(run: PublishedRun, labels: Sequence[str]) -> NDArray[np.float64]:
    """The boxes of a run, by label and tenth of the score (C, 10)."""
    tally = Tally(labels)
    records = run.records()
    while some := list(islice(records, _AT_ONCE)):
        tally.add_records(some)
    return tally.histograms.boxes.astype(np.float64)


def _kinds(names: Sequence[str], ours: NDArray[np.float64], theirs: NDArray[np.float64], axis: int) -> list[_Kind]:
    """The kinds along one axis of the counts (C, B): labels, whose counts are sums over axis 1, or scores."""
    here, before = ours.sum(axis), theirs.sum(axis)
    rows = zip(names, shifts(here, before), here / here.sum(), before / before.sum(), strict=True)
    prefix = "label " if axis == 1 else ""
    return [_Kind(f"{prefix}{name}", *map(float, numbers)) for name, *numbers in rows]
