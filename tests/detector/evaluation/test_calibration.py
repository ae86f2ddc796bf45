import numpy as np
import pytest

from detector.common.errors import AnnotationError
from detector.data.annotations import CocoDataset
from detector.evaluation.calibration import (
    Judged,
    calibrated,
    expected_calibration_error,
    fit,
    judge,
    reliability,
)
from detector.evaluation.reliability_plot import draw_reliability
from detector.runtime.postprocess import Detections, calibrate, calibrated_score
from tests.support.datasets import image_info


def draws(count: int, slope: float, offset: float, seed: int = 0) -> Judged:
    """Detections whose chance of being right is sigmoid(slope * logit(score) + offset)."""
    random = np.random.default_rng(seed)
    scores = random.uniform(0.01, 0.99, count)
    return Judged(scores, random.random(count) < calibrate(scores, slope, offset))


def test_scores_that_mean_what_they_say_have_no_error_and_are_left_alone() -> None:
    judged = draws(40_000, 1.0, 0.0)
    assert expected_calibration_error(judged) < 0.01
    assert fit(judged) == pytest.approx((1.0, 0.0), abs=0.05)


@pytest.mark.parametrize(("slope", "offset"), [(0.5, -2.0), (2.0, 1.0)])
def test_the_fit_finds_the_curve_that_made_the_data(slope: float, offset: float) -> None:
    judged = draws(40_000, slope, offset)
    found = fit(judged)
    assert found == pytest.approx((slope, offset), abs=0.1)
    assert expected_calibration_error(judged) > 0.1
    assert expected_calibration_error(calibrated(judged, *found)) < 0.01


@pytest.mark.parametrize(
    "judged",
    [
        Judged(np.zeros(0), np.zeros(0, bool)),
        Judged(np.linspace(0.1, 0.9, 50), np.ones(50, bool)),  # nothing wrong
        Judged(np.linspace(0.1, 0.9, 50), np.arange(50) < 5),  # too few right
        Judged(np.linspace(0.1, 0.9, 100), np.arange(100) < 50),  # high scores are the wrong ones
    ],
)
def test_what_cannot_be_fitted_is_left_alone(judged: Judged) -> None:
    assert fit(judged) == (1.0, 0.0)


def test_a_clean_separation_does_not_make_a_step() -> None:
    scores = np.concatenate([np.linspace(0.01, 0.4, 200), np.linspace(0.6, 0.99, 60)])
    judged = Judged(scores, scores > 0.5)
    slope, offset = fit(judged)
    assert 1 < slope < 6  # some 10 without Platt's targets
    assert len(np.unique(calibrated(judged, slope, offset).scores.round(4))) > 100


def test_reliability_by_hand() -> None:
    judged = Judged(np.array([0.05, 0.31, 0.39, 1.0, 0.95]), np.array([False, True, False, True, True]))
    rows = reliability(judged)
    assert [(row.count, row.precision) for row in rows] == [(1, 0.0), (2, 0.5), (2, 1.0)]
    assert [row.score for row in rows] == pytest.approx([0.05, 0.35, 0.975])
    assert expected_calibration_error(judged) == pytest.approx((0.05 + 2 * 0.15 + 2 * 0.025) / 5)
    assert expected_calibration_error(judged, 0.9) == pytest.approx(0.025)
    assert np.isnan(expected_calibration_error(Judged(np.zeros(0), np.zeros(0, bool))))
    assert np.isnan(expected_calibration_error(Judged(np.array([0.5]), np.ones(1, bool)), 0.6))


@pytest.fixture
def truth() -> CocoDataset:
    """One cat, one ignored cat."""
    image = image_info(1, [[0, 0, 10, 10], [50, 0, 60, 10]], ignore=[False, True])
    return CocoDataset(("cat", "dog"), (image,))


def found(*rows: tuple[list[float], float, int]) -> dict[int, Detections]:
    boxes, scores, labels = zip(*rows, strict=True)
    return {1: Detections(np.array(boxes, np.float32), np.array(scores), np.array(labels))}


def test_detections_are_judged_as_for_ap(truth: CocoDataset) -> None:
    judged = judge(
        truth,
        found(([0, 0, 10, 10], 0.9, 0), ([0, 0, 10, 9], 0.8, 0), ([50, 0, 60, 10], 0.7, 0), ([0, 0, 10, 10], 0.6, 1)),
    )  # right, found again, ignored, of another class
    assert judged.scores.tolist() == [0.9, 0.8, 0.6] and judged.right.tolist() == [True, False, False]
    assert len(judge(truth, {}).scores) == 0


def test_a_label_beyond_the_classes_is_an_error(truth: CocoDataset) -> None:
    with pytest.raises(AnnotationError, match="beyond the 2 classes"):
        judge(truth, found(([0, 0, 10, 10], 0.9, 2)))


def test_calibration_keeps_order_and_range() -> None:
    scores = np.array([0.0, 1e-7, 0.2, 0.5, 0.999, 1.0])
    result = calibrate(scores, 0.5, -2.0)
    assert (
        (np.diff(result) >= 0).all()
        and (np.diff(result[1:5]) > 0).all()
        and (result >= 0).all()
        and (result <= 1).all()
    )
    np.testing.assert_allclose(calibrate(scores, 1.0, 0.0), scores, atol=1e-8)
    assert calibrated_score(0.5, 1.0, 0.0) == pytest.approx(0.5, abs=1.1e-4) and calibrated_score(0.0, 1.0, 0.0) == 0


def test_the_diagram_is_drawn_also_of_nothing() -> None:
    curves = {"val": reliability(draws(500, 0.5, 0.0)), "test": []}
    picture = draw_reliability(curves)
    assert picture.width > 300 and np.asarray(picture.convert("L")).std() > 5
