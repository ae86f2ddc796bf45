from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.geometry.boxes import iou
from detector.proposals import selective_search


def check(boxes: np.ndarray, height: int, width: int, max_boxes: int) -> None:
    assert boxes.dtype == np.float32 and boxes.ndim == 2 and boxes.shape[1] == 4
    assert 1 <= len(boxes) <= max_boxes
    assert np.isfinite(boxes).all()
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] < boxes[:, 2:]).all()
    assert (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)


def scene() -> np.ndarray:
    """uint8 (60, 90, 3): a bright rectangle from (20, 10) to (60, 40) on a dark ground."""
    pixels = np.full((60, 90, 3), 30, np.uint8)
    pixels[10:40, 20:60] = (230, 220, 60)
    return pixels


SHAPES = [(1, 1), (1, 50), (50, 1), (2, 2), (48, 64), (20, 2000), (2000, 20), (3, 700), (400, 330)]


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_boxes_lie_in_the_image_and_differ(noise: Callable[..., np.ndarray], height: int, width: int) -> None:
    check(selective_search(noise(height, width, block=5)), height, width, 2000)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (33, 50), (20, 2000)])
def test_one_colour_is_one_box(height: int, width: int) -> None:
    boxes = selective_search(np.full((height, width, 3), 128, np.uint8))
    np.testing.assert_allclose(boxes, [[0, 0, width, height]], rtol=1e-6)


def test_any_small_picture_works(pictures: Callable[..., st.SearchStrategy]) -> None:
    @settings(deadline=None, max_examples=30, derandomize=True)
    @given(pictures(16), st.integers(1, 20))
    def check_one(pixels: np.ndarray, max_boxes: int) -> None:
        check(selective_search(pixels, max_boxes), *pixels.shape[:2], max_boxes)

    check_one()


def test_fewer_boxes_are_the_first_of_more(noise: Callable[..., np.ndarray]) -> None:
    pixels = noise(96, 128, block=7)
    many = selective_search(pixels, 1000)
    assert len(many) > 300
    np.testing.assert_array_equal(selective_search(pixels, 100), many[:100])
    assert selective_search(pixels, 0).shape == (0, 4)


def test_the_last_regions_of_the_hierarchies_come_first(noise: Callable[..., np.ndarray]) -> None:
    boxes = selective_search(noise(96, 128, block=7))
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    assert boxes[0].tolist() == [0, 0, 128, 96]
    # The fewer merges are left, the larger the regions: not so for each of them, but on the whole.
    assert np.median(areas[:40]) > 3 * np.median(areas[-40:])


def test_an_obvious_object_is_found_early() -> None:
    boxes = selective_search(scene(), 20)
    assert iou(boxes, np.array([[20, 10, 60, 40]], np.float32)).max() > 0.8


def test_an_obvious_object_is_found_in_a_large_picture() -> None:
    large = scene().repeat(12, 0).repeat(12, 1)
    boxes = selective_search(large, 20)
    check(boxes, 720, 1080, 20)
    assert iou(boxes, 12 * np.array([[20, 10, 60, 40]], np.float32)).max() > 0.8


def test_the_same_pixels_give_the_same_boxes_in_every_thread(noise: Callable[..., np.ndarray]) -> None:
    pictures = [noise(40, 60, seed=seed, block=6) for seed in range(4)]
    alone = [selective_search(pixels) for pixels in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(selective_search, pictures * 3))
    for index, boxes in enumerate(together):
        np.testing.assert_array_equal(boxes, alone[index % 4])


def test_the_picture_is_read_only_and_may_lie_anyhow_in_memory(noise: Callable[..., np.ndarray]) -> None:
    pixels = noise(30, 44, block=5)
    before = pixels.copy()
    boxes = selective_search(pixels)
    np.testing.assert_array_equal(pixels, before)
    view = np.asfortranarray(pixels)
    view.flags.writeable = False
    np.testing.assert_array_equal(selective_search(view), boxes)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((5, 6, 3), np.float32),
        np.zeros((5, 6), np.uint8),
        np.zeros((5, 6, 4), np.uint8),
        np.zeros((0, 6, 3), np.uint8),
        np.zeros((2, 5, 6, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8 RGB"):
        selective_search(wrong)
