import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchvision.ops import box_convert, box_iou, clip_boxes_to_image

from detector.runtime.geometry.boxes import area, clip, empty, intersection, iou, xywh_to_xyxy, xyxy_to_xywh

SIZES = st.integers(0, 6)


@st.composite
def boxes(draw: st.DrawFn, least: int = 0) -> np.ndarray:
    """(N, 4) xyxy on quarter pixels, some empty, some outside a 30 x 50 image."""
    count = draw(SIZES)
    corners = draw(arrays(np.int64, (count, 2), elements=st.integers(-100, 250)))
    sizes = draw(arrays(np.int64, (count, 2), elements=st.integers(least, 200)))
    return (np.concatenate([corners, corners + sizes], axis=1) / 4).astype(np.float32)


@settings(deadline=None, max_examples=50)
@given(boxes(), boxes())
def test_iou_is_torchvisions(a: np.ndarray, b: np.ndarray) -> None:
    expected = box_iou(torch.from_numpy(a), torch.from_numpy(b)).nan_to_num(0.0)  # 0 / 0 for two empty boxes
    found = iou(a, b)
    assert found.dtype == np.float32 and found.shape == (len(a), len(b))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(boxes())
def test_clip_is_torchvisions(a: np.ndarray) -> None:
    np.testing.assert_array_equal(clip(a, 30, 50), clip_boxes_to_image(torch.from_numpy(a), (30, 50)))


@settings(deadline=None, max_examples=50)
@given(boxes())
def test_conversions_are_torchvisions_and_each_others_inverse(a: np.ndarray) -> None:
    as_xywh = xyxy_to_xywh(a)
    np.testing.assert_array_equal(as_xywh, box_convert(torch.from_numpy(a), "xyxy", "xywh"))
    np.testing.assert_array_equal(xywh_to_xyxy(as_xywh), a)


def test_width_limits_x_and_height_limits_y() -> None:
    np.testing.assert_array_equal(clip(np.array([[-3, -2, 90, 80]]), height=30, width=50), [[0, 0, 50, 30]])


def test_an_inverted_box_has_no_area_and_meets_nothing() -> None:
    inverted = np.array([[8, 2, 3, 9]], np.float32)
    whole = np.array([[0, 0, 20, 10]], np.float32)
    assert area(inverted) == 0 and area(whole) == 200
    assert intersection(inverted, whole) == 0 and iou(inverted, whole) == 0


def test_two_empty_boxes_have_iou_0() -> None:
    point = np.array([[3, 4, 3, 4]], np.float32)
    assert iou(point, point) == 0


def test_no_boxes_flow_through_everything() -> None:
    none, one = empty(), np.array([[1, 2, 9, 5]], np.float32)
    for converted in (none, xywh_to_xyxy(none), xyxy_to_xywh(none), clip(none, 30, 50)):
        assert converted.shape == (0, 4) and converted.dtype == np.float32
    assert area(none).shape == (0,)
    assert iou(none, one).shape == (0, 1) and iou(one, none).shape == (1, 0) and iou(none, none).shape == (0, 0)
