"""Every confident detection is right, wrong in one way, or neither; every truth is found, missed, or not asked for."""

from __future__ import annotations

import numpy as np
import pytest

from detector.common.errors import AnnotationError
from detector.evaluation.average_precision import evaluate_voc
from detector.evaluation.mistakes import find_mistakes

CAT, DOG = (0, 0, 0, 100, 50), (1, 150, 100, 250, 200)


def kinds(make, truths, found, score: float = 0.0) -> list[tuple[str, int | None]]:
    mistakes = find_mistakes(make.dataset(make.image(1, truths)), {1: make.found(found)}, score)
    return [(item.kind, item.confused) for item in mistakes.false_positives]


@pytest.mark.parametrize(
    ("box", "kind", "confused"),
    [
        ((0, 0, 100, 20), "localisation", None),  # IoU .4 with the cat
        ((150, 100, 250, 200), "confusion", 1),  # the dog
        ((230, 100, 310, 200), "confusion", 1),  # IoU .125 with the dog
        ((240, 190, 300, 200), "background", None),  # touches the dog
        ((0, 150, 40, 200), "background", None),
        ((0, 0, 100, 50), "duplicate", None),
    ],
)
def test_kinds_of_wrong_detections(make, box, kind: str, confused: int | None) -> None:
    assert kinds(make, [CAT, DOG], [(0.9, *CAT), (0.8, 0, *box)]) == [(kind, confused)]


def test_what_lies_on_another_object_is_confused_though_its_own_is_near(make) -> None:
    near = (1, 60, 0, 160, 50)
    assert kinds(make, [CAT, near], [(0.8, 0, 55, 0, 155, 50)]) == [("confusion", 1)]


def test_the_best_detections_come_first_and_the_largest_misses(make) -> None:
    truth = make.dataset(make.image(1, [CAT, DOG]), make.image(2, [(1, 0, 0, 200, 200), (0, 0, 0, 5, 5)]))
    found = {
        1: make.found([(0.3, 0, 200, 0, 220, 20)]),
        2: make.found([(0.7, 1, 250, 0, 290, 20), (0.9, 1, 260, 0, 299, 9)]),
    }
    mistakes = find_mistakes(truth, found, 0.2)
    assert [(item.image, item.detection, item.score) for item in mistakes.false_positives] == [
        (1, 1, 0.9), (1, 0, 0.7), (0, 0, 0.3),
    ]  # fmt: skip
    assert [(item.image, item.truth) for item in mistakes.misses] == [(1, 0), (0, 1), (0, 0), (1, 1)]
    assert mistakes.misses[0].share == pytest.approx(200 * 200 / (300 * 200))


def test_below_the_score_nothing_is_found_and_nothing_is_wrong(make) -> None:
    truth = make.dataset(make.image(1, [CAT, DOG]))
    found = {1: make.found([(0.5, *CAT), (0.4, 1, 0, 0, 9, 9)])}
    assert (find_mistakes(truth, found, 0.5).found, find_mistakes(truth, found, 0.51).found) == (1, 0)
    assert find_mistakes(truth, found, 0.5).false_positives == ()


def test_difficult_objects_and_crowds_are_not_missed(make) -> None:
    truth = make.dataset(make.image(1, [(*CAT, "ignore"), (*DOG, "crowd")]))
    mistakes = find_mistakes(truth, {1: make.found([(0.9, 0, 0, 0, 100, 49), (0.8, *DOG)])}, 0.1)
    assert (mistakes.false_positives, mistakes.misses, mistakes.found) == ((), (), 0)
    assert find_mistakes(truth, {}, 0.1).misses == ()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("score", [0.0, 0.5])
def test_the_counts_are_those_of_average_precision(make, seed: int, score: float) -> None:
    truth, detections = make.random(seed, crowds=seed % 2 == 0)
    mistakes = find_mistakes(truth, detections, score)
    results = evaluate_voc(truth, detections, (0.5,)).by_iou[0.5]
    kept = [np.searchsorted(-result.scores, -score, side="right") for result in results]
    right = [
        round(result.recall[number - 1] * result.truths) if number and result.truths else 0
        for result, number in zip(results, kept, strict=True)
    ]
    assert mistakes.found == sum(right)
    assert len(mistakes.misses) == sum(result.truths for result in results) - sum(right)
    assert len(mistakes.false_positives) == sum(kept) - sum(right)


def test_an_image_that_is_not_listed_is_refused(make) -> None:
    with pytest.raises(AnnotationError, match="image 7"):
        find_mistakes(make.dataset(make.image(1, [])), {7: make.found([(0.9, *CAT)])}, 0.1)
