"""Population stability index, and when drift is not judged."""

from __future__ import annotations

import numpy as np
import pytest

from detector.runtime.artifact import Artifact
from detector.runtime.pixel_counts import PixelCounts
from jobs.profile import Profile
from jobs.rules.drift import measure, psi
from jobs.rules.policy import DRIFT_BOXES, DRIFT_IMAGES


def test_psi_by_hand() -> None:
    """Shares .2, .8 against .5, .5: (.2 - .5) ln(.2 / .5) + (.8 - .5) ln(.8 / .5) = .3 ln 4 = .4159."""
    assert psi(np.array([2e6, 8e6]), np.array([5e6, 5e6])) == pytest.approx(0.3 * np.log(4), abs=1e-5)
    assert psi(np.array([7.0, 3.0]), np.array([7.0, 3.0])) == 0
    assert np.isfinite(psi(np.array([10.0, 0.0]), np.array([0.0, 10.0])))


def test_chance_alone_stays_below_the_limit_at_the_least_number_of_boxes() -> None:
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.ones(20))
    found = [
        psi(random.multinomial(DRIFT_BOXES, shares).astype(float), random.multinomial(2000, shares).astype(float))
        for _ in range(300)
    ]
    assert np.quantile(found, 0.99) < 0.25


def _seen(artifact: Artifact, boxes: int, images: int = 1000) -> Profile:
    seen = Profile(artifact.classes, PixelCounts())
    seen.images = images
    seen.histograms.add(np.zeros(boxes, np.int64), np.full(boxes, 0.5), np.full(boxes, 0.1))
    return seen


@pytest.mark.parametrize(
    ("boxes", "images", "min_score", "reason"),
    [
        (5000, DRIFT_IMAGES - 1, 0.3, "499 images; needs 500"),
        (5000, DRIFT_IMAGES, 0.95, "no whole tenth of the scores from 0.95 on"),
        (DRIFT_BOXES - 1, DRIFT_IMAGES, 0.3, "199 boxes; needs 200 here and on test"),
    ],
)
def test_too_little_to_judge_by(measured: Artifact, boxes: int, images: int, min_score: float, reason: str) -> None:
    found = measure(_seen(measured, boxes, images), measured, min_score)
    assert (found["label_drift"].value, found["label_drift"].text) == (None, reason)


def test_an_artifact_without_a_baseline(artifact_model: Artifact) -> None:
    found = measure(_seen(artifact_model, 5000), artifact_model, 0.3)
    assert {drift.text for drift in found.values()} == {"the artifact has no baseline"}


def test_a_run_with_tiles_finds_other_boxes_than_the_measurement(measured: Artifact) -> None:
    found = measure(_seen(measured, 5000), measured, 0.3, tiled=True)
    assert {drift.text for drift in found.values()} == {"the artifact's baseline was measured without tiles"}
    assert all(drift.value is None for drift in found.values())


def test_scores_below_the_first_whole_tenth_do_not_count(measured: Artifact) -> None:
    """A threshold of .4 cuts the baseline too: the boxes an image are compared alike."""
    seen = _seen(measured, 2400)  # score .5
    assert measure(seen, measured, 0.3)["boxes_per_image_drift"].value == pytest.approx(2400 / 3000)
    assert measure(seen, measured, 0.45)["boxes_per_image_drift"].value == pytest.approx(2400 / 2100)


def test_what_the_baseline_did_not_measure_does_not_count(measured: Artifact) -> None:
    """Below the artifact's least score (.01) the test images were not looked at, so that the first tenth is cut."""
    seen = _seen(measured, 3000)
    seen.histograms.add(np.zeros(50_000, np.int64), np.full(50_000, 0.005), np.full(50_000, 0.1))
    for min_score in (0.0, 0.01, 0.1):
        assert measure(seen, measured, min_score)["boxes_per_image_drift"].value == pytest.approx(1.0)
