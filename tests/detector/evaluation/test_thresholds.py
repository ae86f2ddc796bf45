"""Thresholds that are chosen from curves of F1."""

import numpy as np
import pytest

from detector.evaluation.average_precision import evaluate_voc
from detector.evaluation.thresholds import best_scores, choose_scores

BOX = (0, 0, 100, 50)


def two_classes(make):
    """Cats: right at .9 and .6, wrong at .5. Dogs: wrong at .8, right at .3."""
    truth = make.dataset(make.image(1, [(0, *BOX), (0, 150, 0, 250, 50), (1, *BOX)]))
    far = (150, 100, 250, 150)
    rows = [(0.9, 0, *BOX), (0.6, 0, 150, 0, 250, 50), (0.5, 0, *far), (0.8, 1, *far), (0.3, 1, *BOX)]
    return truth, {1: make.found(rows)}


def test_a_class_has_its_own_score_and_borrows_from_all_where_it_has_few_objects(make) -> None:
    """Alone, cats are best from .6 on (F1 1) and dogs from .3 on (F1 2/3); all classes are best from .3 on."""
    truth, detections = two_classes(make)
    results = evaluate_voc(truth, detections, (0.5,)).by_iou[0.5]
    np.testing.assert_allclose(results[0].f1(np.array([0.95, 0.9, 0.7, 0.6, 0.0])), [0, 2 / 3, 2 / 3, 1, 0.8])
    assert best_scores(results, borrowed=0) == (0.3, {"cat": 0.6, "dog": 0.3})
    # From .6 on, F1 is 1 for cats and 1/2 in the mean; from .3 on, .8 and 11/15: equal for 2 cats and 12/7 others.
    assert best_scores(results, borrowed=1.7).by_class["cat"] == 0.6
    assert best_scores(results, borrowed=1.8).by_class["cat"] == 0.3
    assert choose_scores(truth, detections) == (0.3, {"cat": 0.3, "dog": 0.3})


def test_a_class_without_objects_has_the_operating_score(make) -> None:
    truth = make.dataset(make.image(1, [(0, *BOX)]))
    found = {1: make.found([(0.7, 0, *BOX), (0.9, 1, *BOX)])}
    assert choose_scores(truth, found) == (0.7, {"cat": 0.7, "dog": 0.7})


def test_equal_scores_stand_or_fall_together(make) -> None:
    truth = make.dataset(make.image(1, [(0, *BOX)]), classes=("cat",))
    found = {1: make.found([(0.5, 0, *BOX), (0.5, 0, 150, 0, 250, 50)])}
    result = evaluate_voc(truth, found, (0.5,)).by_iou[0.5][0]
    np.testing.assert_allclose(result.f1(np.array([0.6, 0.5])), [0, 2 / 3])


def test_operating_score_is_one_threshold_for_the_mean_f1(make) -> None:
    truth, detections = two_classes(make)
    # Mean F1: .9 -> 1/3, .8 -> 1/3, .6 -> 1/2, .5 -> .4, .3 -> (.8 + 2/3) / 2.
    assert choose_scores(truth, detections).operating == 0.3
    rows = detections[1]
    rows.boxes[4] = (0, 100, 50, 150)  # the dog at .3 is wrong as well
    assert choose_scores(truth, detections).operating == 0.6


@pytest.mark.parametrize("seed", range(5))
def test_operating_score_is_the_best_of_all_thresholds(make, seed: int) -> None:
    truth, detections = make.random(seed)
    best = choose_scores(truth, detections).operating

    def mean_f1(threshold: float) -> float:
        kept = {}
        for image_id, found in detections.items():
            keep = found.scores >= threshold
            kept[image_id] = type(found)(found.boxes[keep], found.scores[keep], found.labels[keep])
        total = []
        for result in evaluate_voc(truth, kept, (0.5,)).by_iou[0.5]:
            if result.truths:
                wrong = result.false_positives + result.truths - result.true_positives
                total.append(2 * result.true_positives / (2 * result.true_positives + wrong))
        return float(np.mean(total))

    values = {round(t, 1): mean_f1(t) for t in np.round(np.arange(0, 1.05, 0.1), 1)}
    assert values[round(best, 1)] == pytest.approx(max(values.values()))
    assert min(values.values()) < max(values.values())


def test_operating_score_without_a_right_detection(make) -> None:
    truth = make.dataset(make.image(1, [(0, *BOX)]))
    assert choose_scores(truth, {}) == (0.5, {"cat": 0.5, "dog": 0.5})
    assert choose_scores(truth, {1: make.found([(0.9, 0, 150, 100, 250, 150)])}).operating == 0.5
