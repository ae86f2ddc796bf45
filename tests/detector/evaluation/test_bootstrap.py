"""The draws of images with replacement: against an evaluation of each drawn set, and their limits."""

import math
from dataclasses import replace

import numpy as np
import pytest

from detector.common.errors import AnnotationError
from detector.data.annotations import CocoDataset
from detector.evaluation.average_precision import evaluate_voc
from detector.evaluation.bootstrap import draw_map, interval


@pytest.mark.parametrize("iou", [0.5, 0.7])
def test_a_draw_is_the_evaluation_of_its_images(make, iou: float) -> None:
    """Each copy of an image is an image of its own, with its own truths and detections."""
    truth, detections = make.random(3)
    # Of detections with equal scores, the copies of one come before those of the next.
    rng = np.random.default_rng(3)
    detections = {number: replace(found, scores=rng.random(len(found.scores))) for number, found in detections.items()}
    count = len(truth.images)
    drawn = draw_map(truth, detections, iou, draws=20, seed=7)
    times = np.random.default_rng(7).multinomial(count, np.full(count, 1 / count), 20)
    assert (times.sum(axis=1) == count).all() and times.max() > 1
    for value, copies in zip(drawn, times, strict=True):
        chosen = np.repeat(np.arange(count), copies)
        images = tuple(replace(truth.images[place], id=number) for number, place in enumerate(chosen, start=1))
        found = {
            number: detections[truth.images[place].id]
            for number, place in enumerate(chosen, start=1)
            if truth.images[place].id in detections
        }
        whole = evaluate_voc(CocoDataset(truth.classes, images), found, (iou,))
        assert value == pytest.approx(whole.map_11point(iou), abs=1e-12)


def test_two_detectors_get_the_same_draws(make) -> None:
    truth, detections = make.random(1)
    np.testing.assert_array_equal(draw_map(truth, detections, 0.5), draw_map(truth, detections, 0.5))
    assert (draw_map(truth, detections, 0.5) != draw_map(truth, detections, 0.5, seed=2)).any()
    better = {number: replace(found, scores=found.scores / 2) for number, found in detections.items()}
    np.testing.assert_array_equal(draw_map(truth, detections, 0.5), draw_map(truth, better, 0.5))


def test_without_truths_nothing_is_known(make) -> None:
    empty = make.dataset(make.image(1, []), classes=("cat", "dog"))
    assert np.isnan(draw_map(empty, {}, 0.5, draws=5)).all()
    assert np.isnan(draw_map(make.dataset(classes=("cat",)), {}, 0.5, draws=5)).all()
    assert all(map(math.isnan, interval(draw_map(empty, {}, 0.5, draws=5), math.nan)))
    assert all(map(math.isnan, interval(np.zeros(0), 0.5)))


def test_an_interval_leaves_out_a_fortieth_on_each_side_and_takes_the_bias_off() -> None:
    assert interval(np.arange(1001.0)[::-1], 500.0) == pytest.approx((25.0, 975.0))
    # All draws are above the estimate: so is the estimate above the truth.
    assert interval(np.arange(1001.0), 0.0) == pytest.approx((-975.0, -25.0))


def test_an_unknown_image_is_refused(make) -> None:
    truth = make.dataset(make.image(1, [(0, 0, 0, 10, 10)]), classes=("cat",))
    with pytest.raises(AnnotationError, match="image 5"):
        draw_map(truth, {5: make.found([(0.9, 0, 0, 0, 10, 10)])}, 0.5)
