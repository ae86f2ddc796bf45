import math

import numpy as np
import pytest

from detector.evaluation.proposal_recall import proposal_recall, recall_curve
from detector.runtime.geometry.boxes import empty


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_recall_and_mabo_worked_out_by_hand(make) -> None:
    truth = make.dataset(
        make.image(1, [(0, 0, 0, 100, 50), (0, 200, 0, 300, 50), (1, 0, 100, 100, 150), (1, 9, 9, 20, 20, "ignore")]),
        make.image(2, [(1, 0, 0, 100, 100), (0, 0, 0, 50, 50, "crowd")]),
        make.image(3, []),
    )
    proposals = {
        1: boxes((0, 0, 80, 50), (0, 0, 100, 50), (200, 0, 260, 50)),
        2: boxes((0, 0, 100, 50), (0, 0, 100, 75)),
        3: boxes((0, 0, 10, 10)),
    }
    result = proposal_recall(truth, proposals, budgets=(1, 2, 3))
    # Best overlaps. Budget 1: cat .8 0, dog 0 .5. Budget 2: cat 1 0, dog 0 .75. Budget 3: cat 1 .6, dog 0 .75.
    assert result.recall == {1: {0.5: 0.5, 0.7: 0.25}, 2: {0.5: 0.5, 0.7: 0.5}, 3: {0.5: 0.75, 0.7: 0.5}}
    assert result.mabo == pytest.approx({1: (0.4 + 0.25) / 2, 2: (0.5 + 0.375) / 2, 3: (0.8 + 0.375) / 2})


def test_images_without_proposals_count_as_missed(make) -> None:
    truth = make.dataset(make.image(1, [(0, 0, 0, 10, 10)]), make.image(2, [(0, 0, 0, 10, 10)]))
    result = proposal_recall(truth, {2: empty()}, budgets=(100,), ious=(0.5,))
    assert result.recall == {100: {0.5: 0.0}} and result.mabo == {100: 0.0}


@pytest.mark.parametrize("images", [0, 1])
def test_without_truths_there_is_no_recall(make, images: int) -> None:
    truth = make.dataset(*[make.image(1, [])] * images)
    result = proposal_recall(truth, {}, budgets=(100,), ious=(0.5,))
    assert math.isnan(result.recall[100][0.5]) and math.isnan(result.mabo[100])


def test_the_curve_ends_with_the_most_proposals_and_agrees_with_the_table(make) -> None:
    truth = make.dataset(make.image(1, [(0, 0, 0, 100, 50), (1, 0, 100, 100, 150)]))
    proposals = {1: boxes((0, 0, 9, 9), (0, 0, 100, 40), (0, 100, 100, 150))}
    curve = recall_curve(truth, proposals, 30)
    assert [point["proposals"] for point in curve] == [1, 2, 5, 10, 20, 30]
    assert [point["recall_50"] for point in curve] == [0, 0.5, 1, 1, 1, 1]
    assert curve[-1]["mabo"] == proposal_recall(truth, proposals, (30,)).mabo[30]
    assert [point["proposals"] for point in recall_curve(truth, proposals, 1)] == [1]
