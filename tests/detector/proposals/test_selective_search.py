from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.proposals import selective_search
from detector.proposals.colour import blur
from detector.proposals.grouping import group, overlaps
from detector.proposals.ranking import rank
from detector.proposals.regions import describe, histograms, texture_codes
from detector.proposals.segmentation import coarse_neighbours, coarsen, neighbours, segment, sorted_edges, weigh
from detector.proposals.selective_search import _MODES, _STRATEGIES, Mode
from detector.proposals.shrink import shrink, small_shape
from detector.runtime.geometry.boxes import iou

MODES: tuple[Mode, ...] = get_args(Mode)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Mode:
    return request.param


def check(boxes: np.ndarray, height: int, width: int, max_boxes: int) -> None:
    assert boxes.dtype == np.float32 and boxes.ndim == 2 and boxes.shape[1] == 4
    assert 1 <= len(boxes) <= max_boxes
    assert np.isfinite(boxes).all()
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] < boxes[:, 2:]).all()
    assert (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    # The one box that belongs to every hierarchy, and therefore stands near the top: the whole image.
    assert np.isclose(boxes[:20], [0, 0, width, height], rtol=1e-6).all(axis=1).any()


def scene() -> np.ndarray:
    """uint8 (60, 90, 3): a bright rectangle from (20, 10) to (60, 40) on a dark ground."""
    pixels = np.full((60, 90, 3), 30, np.uint8)
    pixels[10:40, 20:60] = (230, 220, 60)
    return pixels


SHAPES = [(1, 1), (1, 2), (2, 1), (1, 50), (50, 1), (2, 2), (3, 3), (48, 64), (20, 2000), (2000, 20), (3, 700),
          (400, 330), (720, 1080), (100, 20000), (2, 90000)]  # fmt: skip


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_boxes_lie_in_the_image_and_differ(
    noise: Callable[..., np.ndarray], height: int, width: int, mode: Mode
) -> None:
    check(selective_search(noise(height, width, block=5), mode=mode), height, width, 2000)


def plain_search(pixels: np.ndarray, mode: Mode) -> np.ndarray:
    """float64 (N, 4): every step by its own function, each segmentation described from its labels."""
    search = _MODES[mode]
    height, width = small_shape(*pixels.shape[:2], search.area)
    smooth = blur(shrink(pixels, height, width))
    codes = texture_codes(smooth)
    boxes, levels = [], []
    for convert in search.colour_spaces:
        colours = convert(smooth)
        for step, k in enumerate(np.array(search.scales, np.float32)):
            if step == 0:
                weights = weigh(colours)
                labels, count = segment(*sorted_edges(weights), height, width, k, search.min_region)
                pairs, weights = neighbours(labels, weights, count)
            else:
                pixels_each = np.bincount(labels.ravel()).astype(np.int32)
                names, count = coarsen(pairs, weights, pixels_each, k)
                labels = names[labels]
                pairs, weights = coarse_neighbours(pairs, weights, names, count)
            size, box, counts = describe(labels, count, colours, codes)
            histogram = histograms(size, counts)
            larger_first = sorted(range(count), key=lambda r: (-size[r], r))
            for use in _STRATEGIES:
                boxes += [group(size, box, counts, histogram, pairs, overlaps(pairs, histogram), height * width, use)]
                levels += [count + larger_first.index(r) for r in range(count)]
                levels += range(count - 1, 0, -1)
    every = np.concatenate(boxes)
    best = every[rank(every, np.array(levels, np.int32), height, width)]
    return best * np.array([pixels.shape[1] / width, pixels.shape[0] / height] * 2)


@pytest.mark.parametrize(("height", "width"), [(40, 57), (192, 256), (410, 530), (3, 60000)])
def test_the_boxes_are_those_of_all_groupings_in_their_order(
    noise: Callable[..., np.ndarray], height: int, width: int, mode: Mode
) -> None:
    pixels = noise(height, width, block=6)
    expected = plain_search(pixels, mode)
    np.testing.assert_allclose(selective_search(pixels, 10**6, mode), expected, rtol=1e-6)
    assert len(expected) > 100


@pytest.mark.parametrize("block", [1, 8, 10, 12])
def test_an_image_of_nothing_but_noise(noise: Callable[..., np.ndarray], block: int, mode: Mode) -> None:
    boxes = selective_search(noise(300, 400, block=block), 10**6, mode)
    check(boxes, 300, 400, 10**6)
    assert len(boxes) > 2000


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (50, 1), (33, 50), (20, 2000), (600, 800)])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (128, 7, 250)])
def test_one_colour_is_one_box(height: int, width: int, colour: tuple[int, int, int], mode: Mode) -> None:
    boxes = selective_search(np.full((height, width, 3), colour, np.uint8), mode=mode)
    np.testing.assert_allclose(boxes, [[0, 0, width, height]], rtol=1e-6)


def test_any_small_image_works(pictures: Callable[..., st.SearchStrategy]) -> None:
    @settings(deadline=None, max_examples=40, derandomize=True)
    @given(pictures(16), st.integers(1, 20), st.sampled_from(MODES))
    def check_one(pixels: np.ndarray, max_boxes: int, mode: Mode) -> None:
        check(selective_search(pixels, max_boxes, mode), *pixels.shape[:2], max_boxes)

    check_one()


def test_fewer_boxes_are_the_first_of_more(noise: Callable[..., np.ndarray], mode: Mode) -> None:
    pixels = noise(96, 128, block=7)
    every = selective_search(pixels, 10**6, mode)
    assert len(every) > 300
    for count in (1, 2, 100, len(every) - 1, len(every)):
        np.testing.assert_array_equal(selective_search(pixels, count, mode), every[:count])
    for none in (0, -1):
        boxes = selective_search(pixels, none, mode)
        assert boxes.shape == (0, 4) and boxes.dtype == np.float32


def test_fast_is_the_mode_unless_told_otherwise(noise: Callable[..., np.ndarray]) -> None:
    pixels = noise(96, 128, block=7)
    np.testing.assert_array_equal(selective_search(pixels, 500), selective_search(pixels, 500, "fast"))
    assert not np.array_equal(selective_search(pixels, 500, "quality"), selective_search(pixels, 500, "fast"))


def test_the_first_boxes_are_larger_than_the_others(noise: Callable[..., np.ndarray], mode: Mode) -> None:
    boxes = selective_search(noise(96, 128, block=7), mode=mode)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    # The fewer merges are left, the larger the regions: not for each of them, but on the whole.
    assert np.median(areas[:50]) > 1.5 * np.median(areas)


@pytest.mark.parametrize("times", [1, 2, 4, 12])
def test_an_obvious_object_is_found_early_in_an_image_of_any_size(times: int, mode: Mode) -> None:
    pixels = scene().repeat(times, 0).repeat(times, 1)
    boxes = selective_search(pixels, 20, mode)
    check(boxes, 60 * times, 90 * times, 20)
    assert iou(boxes, times * np.array([[20, 10, 60, 40]], np.float32)).max() > 0.8


@pytest.mark.parametrize("upright", [False, True])
def test_an_obvious_object_is_found_early_in_a_panorama(upright: bool, mode: Mode) -> None:
    pixels = np.full((100, 5000, 3), 40, np.uint8)
    pixels[20:80, 3100:3160] = 240
    expected = np.array([[3100, 20, 3160, 80]], np.float32)
    if upright:
        pixels, expected = pixels.transpose(1, 0, 2), expected[:, [1, 0, 3, 2]]
    boxes = selective_search(pixels, 20, mode)
    check(boxes, *pixels.shape[:2], 20)
    assert iou(boxes, expected).max() > 0.8


def test_objects_of_many_kinds_are_found_in_a_noisy_scene(noise: Callable[..., np.ndarray], mode: Mode) -> None:
    pixels = 60 + noise(240, 320, seed=2) // np.uint8(12)
    objects = {(30, 20, 110, 90): (120, 0, 0), (150, 40, 300, 70): (0, 110, 60), (60, 130, 90, 220): (90, 90, 90),
               (200, 120, 290, 220): (0, 0, 150), (225, 150, 260, 190): (150, 120, 0)}  # fmt: skip
    for (x1, y1, x2, y2), colour in objects.items():
        pixels[y1:y2, x1:x2] += np.array(colour, np.uint8)
    boxes = selective_search(pixels, 200, mode)
    best = iou(boxes, np.array(list(objects), np.float32)).max(axis=0)
    assert best.min() > 0.8


def test_the_same_pixels_give_the_same_boxes_in_every_thread(noise: Callable[..., np.ndarray], mode: Mode) -> None:
    pictures = [noise(40 + 30 * seed, 60, seed=seed, block=6) for seed in range(4)]
    alone = [selective_search(pixels, mode=mode) for pixels in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda pixels: selective_search(pixels, mode=mode), pictures * 3))
    for index, boxes in enumerate(together):
        np.testing.assert_array_equal(boxes, alone[index % 4])


def test_the_image_is_read_only_and_may_lie_anyhow_in_memory(noise: Callable[..., np.ndarray], mode: Mode) -> None:
    pixels = noise(30, 44, block=5)
    before = pixels.copy()
    boxes = selective_search(pixels, mode=mode)
    np.testing.assert_array_equal(pixels, before)
    wide = np.zeros((60, 44, 5), np.uint8)
    wide[::2, :, 1:4] = pixels
    views = [pixels.copy(), np.asfortranarray(pixels), np.ascontiguousarray(pixels[::-1, ::-1])[::-1, ::-1],
             wide[::2, :, 1:4]]  # fmt: skip
    for view in views:
        view.flags.writeable = False
        np.testing.assert_array_equal(selective_search(view, mode=mode), boxes)


def test_grey_is_the_colour_of_three_equal_channels(noise: Callable[..., np.ndarray], mode: Mode) -> None:
    for grey in (noise(50, 64, block=5)[:, :, 0], np.zeros((1, 1), np.uint8), np.full((3, 4), 9, np.uint8)):
        rgb = np.stack([grey] * 3, axis=-1)
        np.testing.assert_array_equal(selective_search(grey, mode=mode), selective_search(rgb, mode=mode))


def test_alpha_is_not_looked_at(noise: Callable[..., np.ndarray], mode: Mode) -> None:
    rgb = noise(50, 64, block=5)
    expected = selective_search(rgb, mode=mode)
    for alpha in (np.zeros((50, 64), np.uint8), noise(50, 64, seed=1)[:, :, 0]):
        rgba = np.dstack([rgb, alpha])
        np.testing.assert_array_equal(selective_search(rgba, mode=mode), expected)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (np.zeros((5, 6, 3), np.float32), r"not float32 \(5, 6, 3\)"),
        (np.zeros((5, 6), np.int64), r"not int64 \(5, 6\)"),
        (np.zeros((5, 6, 3), np.bool_), r"not bool \(5, 6, 3\)"),
        (np.zeros((5, 6, 1), np.uint8), r"not uint8 \(5, 6, 1\)"),
        (np.zeros((5, 6, 5), np.uint8), r"not uint8 \(5, 6, 5\)"),
        (np.zeros((3, 5, 6), np.uint8), r"not uint8 \(3, 5, 6\)"),
        (np.zeros((0, 6, 3), np.uint8), r"not uint8 \(0, 6, 3\)"),
        (np.zeros((5, 0), np.uint8), r"not uint8 \(5, 0\)"),
        (np.zeros((5, 6, 0), np.uint8), r"not uint8 \(5, 6, 0\)"),
        (np.zeros((2, 5, 6, 3), np.uint8), r"not uint8 \(2, 5, 6, 3\)"),
        (np.zeros(6, np.uint8), r"not uint8 \(6,\)"),
        (np.zeros((), np.uint8), r"not uint8 \(\)"),
    ],
)
def test_other_arrays_are_refused_by_what_is_taken(wrong: np.ndarray, named: str) -> None:
    taken = r"takes uint8 grey \(H, W\), RGB \(H, W, 3\) or RGBA \(H, W, 4\) with at least one pixel, "
    with pytest.raises(ValueError, match=taken + named):
        selective_search(wrong)


def test_an_array_is_looked_at_even_where_no_box_is_wanted() -> None:
    with pytest.raises(ValueError, match="float32"):
        selective_search(np.zeros((5, 6, 3), np.float32), 0)


@pytest.mark.parametrize("wrong", ["best", "", "Fast", None])
def test_another_mode_is_refused_by_the_modes_there_are(wrong: str) -> None:
    with pytest.raises(ValueError, match=f"has the modes fast, quality, not {wrong!r}"):
        selective_search(np.zeros((5, 6, 3), np.uint8), 10, wrong)


def test_a_line_of_more_pixels_than_coordinates_can_count() -> None:
    pixels = np.zeros((1, 120_000, 3), np.uint8)
    pixels[:, 100:65_636] = (250, 60, 60)
    pixels[:, 70_000:] = (40, 200, 90)
    boxes = selective_search(pixels, None, "quality")
    check(boxes, 1, 120_000, 100)
    for part in (0, 100), (100, 65_636), (65_636, 70_000), (70_000, 120_000):
        assert np.abs(boxes[:, [0, 2]] - part).max(axis=1).min() < 8


def test_without_a_limit_all_boxes_come(noise: Callable[..., np.ndarray], mode: Mode) -> None:
    pixels = noise(96, 128, block=3)
    every = selective_search(pixels, None, mode)
    assert len(every) > 1000
    np.testing.assert_array_equal(selective_search(pixels, 10**6, mode), every)


@pytest.mark.parametrize(("height", "width"), [(771, 1228), (375, 500), (1003, 997)])
def test_the_whole_image_is_a_box_to_its_last_pixel(noise: Callable[..., np.ndarray], height: int, width: int) -> None:
    assert selective_search(noise(height, width, block=9), 1).tolist() == [[0, 0, width, height]]
