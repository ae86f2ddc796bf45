import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.common.errors import AnnotationError
from detector.evaluation.average_precision import all_point, eleven_point, evaluate_voc


def curve(right: list[int], positives: int) -> tuple[np.ndarray, np.ndarray]:
    found = np.cumsum(right)
    return found / positives, found / np.arange(1, len(right) + 1)


@pytest.mark.parametrize(
    ("right", "positives", "eleven", "area"),
    [
        # Recall .25 .25 .5 .75, precision 1 .5 2/3 .75, made falling: 1 .75 .75 .75.
        ([1, 0, 1, 1], 4, (3 * 1 + 5 * 0.75) / 11, 0.25 + 0.25 * 0.75 + 0.25 * 0.75),
        ([1, 1], 2, 1.0, 1.0),
        ([0, 0, 0], 2, 0.0, 0.0),
        ([], 3, 0.0, 0.0),
        # The first detection is wrong: precision never exceeds 2/3.
        ([0, 1, 1], 2, 2 / 3, 2 / 3),
        # Recall of exactly 3 tenths reaches the point .3, which a sum of three tenths (.30000000000000004) denies.
        ([1, 1, 1], 10, 4 / 11, 0.3),
        ([1] * 6 + [0], 10, 7 / 11, 0.6),
        ([1] * 7, 10, 8 / 11, 0.7),
        # Half of the recall at full precision, the rest at one in two.
        ([1, 1, 0, 0, 1, 1], 4, (6 * 1 + 5 * 2 / 3) / 11, 0.5 + 0.5 * 2 / 3),
    ],
)
def test_average_precisions_worked_out_by_hand(right, positives: int, eleven: float, area: float) -> None:
    recall, precision = curve(right, positives)
    assert eleven_point(recall, precision) == pytest.approx(eleven, abs=1e-12)
    assert all_point(recall, precision) == pytest.approx(area, abs=1e-12)


@given(st.lists(st.integers(0, 1), max_size=40), st.integers(0, 10))
def test_bounds_and_what_more_errors_do(right: list[int], missed: int) -> None:
    positives = max(1, sum(right) + missed)
    recall, precision = curve(right, positives)
    worse = curve([0, *right], positives)
    for measure in (eleven_point, all_point):
        value = measure(recall, precision)
        assert 0 <= value <= 1 + 1e-12
        assert measure(*worse) <= value + 1e-12
        assert measure(*curve([*right, 0], positives)) == pytest.approx(value)
    assert all_point(recall, precision) <= sum(right) / positives + 1e-12
    if sorted(right, reverse=True) == right:
        assert all_point(recall, precision) == pytest.approx(sum(right) / positives)


BOX = (0, 0, 100, 50)


def test_per_class_results_and_means(make) -> None:
    truth = make.dataset(
        make.image(1, [(0, *BOX), (0, 150, 0, 250, 50, "ignore"), (1, *BOX)]),
        make.image(2, [(0, *BOX)]),
        make.image(3, []),
        classes=("cat", "dog", "cow"),
    )
    detections = {
        1: make.found([(0.9, 0, *BOX), (0.8, 0, 150, 0, 250, 50), (0.4, 2, *BOX)]),
        3: make.found([(0.7, 0, *BOX)]),
        2: make.found([(0.6, 0, 0, 0, 80, 50)]),
    }
    result = evaluate_voc(truth, detections)
    assert list(result.by_iou) == [0.5, 0.7, 0.9]
    cat, dog, cow = result.by_iou[0.5]
    assert (cat.name, cat.truths, cat.true_positives, cat.false_positives) == ("cat", 2, 2, 1)
    np.testing.assert_allclose(cat.scores, [0.9, 0.7, 0.6])
    np.testing.assert_allclose(cat.recall, [0.5, 0.5, 1.0])
    np.testing.assert_allclose(cat.precision, [1, 1 / 2, 2 / 3])
    assert cat.ap_all_point == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert cat.ap_11point == pytest.approx((6 + 5 * 2 / 3) / 11)
    assert (dog.truths, dog.ap_11point, dog.ap_all_point) == (1, 0.0, 0.0)
    assert cow.truths == 0 and math.isnan(cow.ap_11point) and math.isnan(cow.ap_all_point)
    assert cow.false_positives == 1
    assert result.map_all_point(0.5) == pytest.approx((0.5 + 1 / 3) / 2)
    assert result.map_11point(0.5) == pytest.approx((6 + 10 / 3) / 22)
    assert result.by_iou[0.9][0].true_positives == 1


def test_perfect_detections_score_1_and_none_score_0(make) -> None:
    truth, _ = make.random(1)
    perfect = {
        image.id: make.found([(0.9, label, *box) for label, box in zip(image.labels, image.boxes, strict=True)])
        for image in truth.images
    }
    result = evaluate_voc(truth, perfect)
    for iou in result.by_iou:
        assert result.map_11point(iou) == result.map_all_point(iou) == pytest.approx(1.0)
    assert evaluate_voc(truth, {}).map_11point(0.5) == 0.0


def test_without_any_truth_the_mean_is_nan(make) -> None:
    assert math.isnan(evaluate_voc(make.dataset(make.image(1, [])), {}).map_11point(0.5))


def test_detections_elsewhere_are_refused(make) -> None:
    truth = make.dataset(make.image(1, []))
    with pytest.raises(AnnotationError, match="image 2"):
        evaluate_voc(truth, {2: make.found([])})
    with pytest.raises(AnnotationError, match="label beyond the 2 classes"):
        evaluate_voc(truth, {1: make.found([(0.5, 2, *BOX)])})
