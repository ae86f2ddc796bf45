import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.runtime.postprocess import Detections, calibrate, postprocess, rounded


def run(rows: list[tuple[list[float], list[list[float]]]], **changes: object) -> Detections:
    """rows: for each proposal its scores (C,) and boxes (C, 4)."""
    scores = np.array([row[0] for row in rows], np.float32)
    boxes = np.array([row[1] for row in rows], np.float32)
    options = {
        "scale": (1.0, 1.0), "height": 60, "width": 100, "min_score": 0.1, "nms_threshold": 0.5, "max_detections": 10,
    }  # fmt: skip
    return postprocess(scores, boxes, **(options | changes))


def one_class(*rows: tuple[float, list[float]], **changes: object) -> Detections:
    return run([([score], [box]) for score, box in rows], **changes)


def test_detections_are_rounded_and_the_best_is_first() -> None:
    found = run(
        [
            ([0.2, 0.123449], [[1.03, 2.04, 30, 20], [50.01, 5, 80.99, 40.97]]),
            ([0.7, 0.01], [[60, 30, 99, 59], [0, 0, 50, 50]]),
        ]
    )
    assert found.labels.tolist() == [0, 0, 1] and found.scores.tolist() == [0.7, 0.2, 0.1234]
    assert found.boxes.tolist() == [[60, 30, 99, 59], [1, 2.0625, 30, 20], [50, 5, 81, 41]]
    assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float64, np.int64)


def test_boxes_are_scaled_back_and_clipped_to_the_image() -> None:
    found = one_class((0.9, [-5, 10, 60, 90]), scale=(0.5, 2.0))
    assert found.boxes.tolist() == [[0, 5, 100, 45]]


def test_the_threshold_sees_the_rounded_score() -> None:
    box = [1, 2, 40, 30]
    assert one_class((0.09996, box), min_score=0.1).scores.tolist() == [0.1]
    assert one_class((0.09994, box), min_score=0.1).scores.tolist() == []
    assert one_class((0.01, box), min_score=0.01).scores.tolist() == [0.01]  # 0.01 as float32 is a little less


def test_suppression_sees_the_rounded_boxes() -> None:
    # With the network's numbers their IoU is 200.2 / 400.2 > .5; with the rounded numbers it is 200 / 400.
    found = one_class((0.9, [0, 0, 30.02, 10]), (0.8, [10, 0, 40.02, 10]), nms_threshold=0.5)
    assert found.boxes.tolist() == [[0, 0, 30, 10], [10, 0, 40, 10]]


def test_suppression_ranks_by_the_rounded_scores() -> None:
    # Both scores are written as .9: the first proposal is the better one, whatever the fifth decimal said.
    found = one_class((0.90001, [0, 0, 30, 10]), (0.90003, [2, 0, 32, 10]))
    assert found.boxes.tolist() == [[0, 0, 30, 10]]


def test_suppression_sees_the_clipped_boxes() -> None:
    # Inside the image both are the same box.
    found = one_class((0.9, [90, 10, 300, 30]), (0.8, [90, 10, 101, 30]))
    assert found.boxes.tolist() == [[90, 10, 100, 30]]


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ([5, 5, 6, 30], True),  # one pixel wide
        ([5, 5, 5.96, 30], False),  # 15/16
        ([5, 5, 5.97, 30], True),  # rounds to 16/16
        ([5, 5, 30, 5.5], False),
        ([99.5, 5, 130, 30], False),  # half a pixel is left inside
        ([120, 5, 160, 30], False),
        ([30, 30, 10, 10], False),
    ],
)
def test_boxes_thinner_than_a_pixel_are_dropped(box: list[float], kept: bool) -> None:
    assert len(one_class((0.9, box)).scores) == kept


def test_a_dropped_box_suppresses_nothing_and_takes_no_place() -> None:
    found = one_class((0.9, [5, 5, 5.5, 30]), (0.5, [5, 5, 6, 30]), max_detections=1)
    assert found.scores.tolist() == [0.5]


def test_classes_do_not_suppress_each_other() -> None:
    box = [1, 2, 40, 30]
    assert run([([0.9, 0.8], [box, box])]).labels.tolist() == [0, 1]


def test_the_best_are_kept_up_to_the_limit_over_all_classes() -> None:
    apart = [[10.0 * i, 0, 10 * i + 8, 20] for i in range(6)]
    rows = [([0.2 + 0.1 * i, 0.25 + 0.1 * i], [box, box]) for i, box in enumerate(apart)]
    found = run(rows, max_detections=3)
    assert found.scores.tolist() == [0.75, 0.7, 0.65] and found.labels.tolist() == [1, 0, 1]


def test_no_proposals_give_no_detections() -> None:
    found = postprocess(
        np.zeros((0, 3), np.float32), np.zeros((0, 3, 4), np.float32), scale=(1.0, 1.0), height=5, width=7,
        min_score=0.0, nms_threshold=0.5, max_detections=10,
    )  # fmt: skip
    assert found.boxes.shape == (0, 4) and found.scores.shape == found.labels.shape == (0,)
    assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float64, np.int64)


# Numbers where a threshold decides: its ends, and what is rounded to the least score or just not.
SCORES = st.one_of(
    st.floats(0, 1, width=32),
    st.sampled_from([0.0, 1.0, 0.1, 0.09995, 0.09994, 0.5, 0.01, 0.00995, 1e-9, 1e-12, 1 - 2**-24]),
)
CALIBRATIONS = st.none() | st.tuples(st.floats(0.05, 20), st.floats(-30, 30)) | st.just((1.0, 0.0))


@settings(max_examples=1000, deadline=None)
@given(st.lists(SCORES, min_size=1, max_size=30), CALIBRATIONS, SCORES, st.integers(0, 40))
def test_the_early_threshold_changes_nothing(
    values: list[float], calibration: tuple[float, float] | None, min_score: float, steps: int
) -> None:
    """Bit by bit what one gets who calibrates and rounds everything and then compares."""
    outputs = np.array(values, np.float32).reshape(-1, 1)
    plain = outputs.astype(np.float64)
    plain = rounded(calibrate(plain, *calibration) if calibration else plain)[:, 0]
    # As often as not, the threshold is a score that there is, or one step of the last decimal beside it.
    least = min_score if steps > 30 else min(1.0, max(0.0, float(plain[steps % len(plain)]) + (steps % 3 - 1) * 1e-4))
    boxes = np.array([[3.0 * i, 0, 3 * i + 2, 9] for i in range(len(values))], np.float32)[:, None]
    found = postprocess(
        outputs, boxes, scale=(1.0, 1.0), height=60, width=100, min_score=least, nms_threshold=0.5,
        max_detections=100, calibration=calibration,
    )  # fmt: skip
    kept = np.flatnonzero(plain >= least)
    kept = kept[np.argsort(-plain[kept], kind="stable")]
    assert np.array_equal(found.scores, plain[kept])
    assert np.array_equal(found.boxes, boxes[kept, 0])
