import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchvision.ops import batched_nms

from detector.runtime.geometry.boxes import empty
from detector.runtime.geometry.nms import nms


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (N, 4) on whole pixels in a small place, so that many overlap; different scores; two labels."""
    count = draw(st.integers(0, 12))
    corners = draw(arrays(np.int64, (count, 2), elements=st.integers(0, 12)))
    sizes = draw(arrays(np.int64, (count, 2), elements=st.integers(1, 14)))
    boxes = np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)
    scores = draw(st.permutations(range(count)).map(lambda order: np.array(order, np.float32) / 16))
    return boxes, scores, draw(arrays(np.int64, count, elements=st.integers(0, 1)))


@settings(deadline=None, max_examples=100)
@given(scenes(), st.sampled_from([0.125, 0.25, 0.5, 0.75]), st.integers(0, 6))  # both sides round these IoUs alike
def test_nms_is_torchvisions(scene: tuple[np.ndarray, np.ndarray, np.ndarray], threshold: float, most: int) -> None:
    boxes, scores, labels = scene
    expected = batched_nms(
        torch.from_numpy(boxes), torch.from_numpy(scores.copy()), torch.from_numpy(labels), threshold
    )
    np.testing.assert_array_equal(nms(boxes, scores, labels, threshold), expected)
    np.testing.assert_array_equal(nms(boxes, scores, labels, threshold, most), expected[:most])


def test_the_best_of_a_heap_survives_and_other_labels_are_left_alone() -> None:
    boxes = np.array([[0, 0, 40, 20], [1, 0, 41, 20], [0, 1, 40, 21], [100, 0, 130, 10]], np.float32)
    scores = np.array([0.5, 0.9, 0.7, 0.1])
    assert nms(boxes, scores, np.array([0, 0, 0, 0]), 0.5).tolist() == [1, 3]
    assert nms(boxes, scores, np.array([0, 0, 1, 0]), 0.5).tolist() == [1, 2, 3]


def test_a_suppressed_box_suppresses_nothing() -> None:
    chain = np.array([[0, 0, 30, 10], [10, 0, 40, 10], [20, 0, 50, 10]], np.float32)  # IoU .5 between neighbours
    assert nms(chain, np.array([0.9, 0.8, 0.7]), np.zeros(3, np.int64), 0.4).tolist() == [0, 2]


def test_iou_equal_to_the_threshold_is_kept() -> None:
    pair = np.array([[0, 0, 30, 10], [10, 0, 40, 10]], np.float32)
    assert len(nms(pair, np.array([0.9, 0.8]), np.zeros(2, np.int64), 0.5)) == 2


def test_equal_scores_keep_the_inputs_order() -> None:
    boxes = np.array([[x, 0, x + 30, 10] for x in (0, 100, 1, 101)], np.float32)
    assert nms(boxes, np.full(4, 0.5), np.zeros(4, np.int64), 0.5).tolist() == [0, 1]


def test_no_boxes_survive_of_none() -> None:
    assert nms(empty(), np.zeros(0), np.zeros(0, np.int64), 0.5).shape == (0,)
