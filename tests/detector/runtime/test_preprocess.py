"""From an image to a graph's input, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.runtime.preprocess import Preprocessing, own_preprocessing, prepare, resized_size
from detector.runtime.resizing import resize_to


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3)).astype(np.uint8)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 96))
def test_our_own_size_keeps_the_ratio_and_the_factors_are_exact(height: int, width: int, long_side: int) -> None:
    made = prepare(own_preprocessing(long_side), np.full((height, width, 3), 77, np.uint8), height, width)
    new_height, new_width = resized_size(own_preprocessing(long_side), height, width)
    assert max(new_height, new_width) == long_side
    assert (made.scale, made.offset) == ((new_width / width, new_height / height), (0.0, 0.0))
    short = min(height, width) * long_side / max(height, width)
    assert min(new_height, new_width) == pytest.approx(max(1, short), abs=0.5)
    assert (made.tensor[0, :, :new_height, :new_width] == (77 - 127) / 128).all()


def test_shrinking_averages_instead_of_picking() -> None:
    stripes = np.zeros((40, 64, 3), np.uint8)
    stripes[:, ::2] = 255  # nearest or unfiltered bilinear sampling would see one of the two colours only
    small = resize_to(stripes, 10, 16, own_preprocessing(16).interpolation)
    np.testing.assert_allclose(small[2:-2, 2:-2], 127, atol=12)


CASES: list[tuple[dict[str, Any], tuple[int, int], tuple[int, int, int, int]]] = [
    # settings, size of the input, and where the image 30 x 60 lies in it: top, left, bottom, right
    ({"resize": "none", "height": None, "width": None}, (30, 60), (0, 0, 30, 60)),
    ({"resize": "none", "height": None, "width": None, "multiple": 32}, (32, 64), (0, 0, 30, 60)),
    ({"resize": "stretch", "height": 40, "width": 50}, (40, 50), (0, 0, 40, 50)),
    ({"resize": "letterbox", "height": 100, "width": 100}, (100, 100), (0, 0, 50, 100)),
    ({"resize": "letterbox", "height": 100, "width": 100, "place": "centre"}, (100, 100), (25, 0, 75, 100)),
    ({"resize": "letterbox", "height": 20, "width": 100, "place": "centre"}, (20, 100), (0, 30, 20, 70)),
    ({"resize": "long_side", "height": 100, "width": 100, "multiple": 32}, (64, 128), (0, 0, 50, 100)),
]


@pytest.mark.parametrize(("settings", "size", "place"), CASES)
def test_the_image_lies_where_boxes_are_looked_for(
    settings: dict[str, Any], size: tuple[int, int], place: tuple[int, int, int, int]
) -> None:
    chosen = Preprocessing(**settings, pad=114, mean=(10, 20, 30), std=(2, 4, 8))
    pixels = np.full((30, 60, 3), (110, 120, 130), np.uint8)
    made = prepare(chosen, pixels, 30, 60)
    top, left, bottom, right = place
    assert made.tensor.shape == (1, 3, *size) and made.tensor.dtype == np.float32
    inside = np.zeros(size, np.bool_)
    inside[top:bottom, left:right] = True
    for channel, (value, pad) in enumerate([(50, 52), (25, 23.5), (12.5, 10.5)]):
        assert (made.tensor[0, channel][inside] == value).all() and (made.tensor[0, channel][~inside] == pad).all()
    assert (made.offset[0], made.offset[1]) == (left, top)
    assert made.scale == ((right - left) / 60, (bottom - top) / 30)
    assert resized_size(chosen, 30, 60) == (bottom - top, right - left)


def test_channels_may_be_turned_round() -> None:
    pixels = np.full((4, 4, 3), (1, 2, 3), np.uint8)
    settings = Preprocessing(resize="none", height=None, width=None, channels="BGR", mean=(0, 1, 2), std=(1, 1, 1))
    assert prepare(settings, pixels, 4, 4).tensor[0, :, 0, 0].tolist() == [3, 1, -1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resize": "letterbox", "height": None, "width": 64}, "resize letterbox needs height and width"),
        ({"resize": "stretch", "height": 64, "width": None}, "resize stretch needs height and width"),
        ({"resize": "none", "height": None, "width": None, "std": (1, 0, 1)}, r"std\.1"),
        ({"resize": "none", "height": None, "width": None, "mean": (1, np.nan, 1)}, "mean"),
        ({"resize": "none", "height": None, "width": None, "multiple": 10**6}, "multiple"),
        ({"resize": "none", "height": None, "width": None, "pad": np.inf}, "pad"),
    ],
)
def test_settings_that_make_no_input_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing(**settings)
