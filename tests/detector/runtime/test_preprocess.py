"""From an image to a graph's input, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detector.runtime.artifact import own_preprocessing
from detector.runtime.images import normalise, resize
from detector.runtime.preprocess import Preprocessing, prepare, resized_size


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(40, 64), (50, 90), (90, 50), (3, 200), (200, 3), (1, 1), (64, 64)])
def test_our_own_input_is_that_of_the_training(height: int, width: int) -> None:
    """Bit by bit."""
    pixels = _noise(height, width)
    made = prepare(own_preprocessing(64), pixels, height, width)
    resized = resize(pixels, 64)
    np.testing.assert_array_equal(made.tensor[0], normalise(resized.pixels))
    assert (made.scale, made.offset) == ((resized.scale_x, resized.scale_y), (0.0, 0.0))


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
