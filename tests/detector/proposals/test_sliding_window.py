import itertools

import numpy as np
import pytest

from detector.proposals import count_windows, sliding_window
from detector.runtime.geometry.boxes import area, iou

SHAPES = [(1, 1), (1, 2), (1, 50), (50, 1), (7, 350), (350, 7), (2, 3), (48, 64), (375, 500), (20, 1000), (3000, 4000)]


def check(windows: np.ndarray, height: int, width: int) -> None:
    assert windows.dtype == np.float32 and windows.ndim == 2 and windows.shape[1] == 4
    assert (windows == np.rint(windows)).all()
    assert (windows[:, :2] >= 0).all() and (windows[:, :2] < windows[:, 2:]).all()
    assert (windows[:, 2] <= width).all() and (windows[:, 3] <= height).all()
    assert len(np.unique(windows, axis=0)) == len(windows)


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_windows_lie_in_the_image_and_differ(height: int, width: int) -> None:
    windows = sliding_window(height, width)
    check(windows, height, width)
    # They reach all four edges.
    assert windows[:, :2].min(axis=0).tolist() == [0, 0]
    assert windows[:, 2:].max(axis=0).tolist() == [width, height]


def test_windows_have_the_scales_and_ratios_asked_for() -> None:
    windows = sliding_window(300, 500, scales=[0.25], ratios=[0.5, 2.0])
    sizes = np.unique(windows[:, 2:] - windows[:, :2], axis=0)
    side = 0.25 * (300 * 500) ** 0.5
    np.testing.assert_allclose(sizes, [[side / 2**0.5, side * 2**0.5], [side * 2**0.5, side / 2**0.5]], atol=0.5)


def test_neighbours_are_no_further_apart_than_the_stride() -> None:
    windows = sliding_window(300, 500, scales=[0.3], ratios=[1.0], stride=0.4)
    side = windows[0, 2] - windows[0, 0]
    for begins, end in ((windows[:, 0], 500), (windows[:, 1], 300)):
        places = np.unique(begins)
        assert places[0] == 0 and places[-1] == end - side
        assert np.diff(places).max() <= np.ceil(0.4 * side)
    assert len(windows) == len(np.unique(windows[:, 0])) * len(np.unique(windows[:, 1]))


def test_the_smallest_stride_is_a_pixel() -> None:
    windows = sliding_window(4, 6, scales=[0.4], ratios=[1.0], stride=0.01)
    assert sorted(map(tuple, windows)) == sorted((x, y, x + 2, y + 2) for y in range(3) for x in range(5))


def test_a_side_longer_than_the_image_is_cut_to_it() -> None:
    assert sliding_window(30, 40, scales=[9.0], ratios=[0.5, 1.0, 2.0]).tolist() == [[0, 0, 40, 30]]
    assert sliding_window(30, 40, scales=[1e308]).tolist() == [[0, 0, 40, 30]]
    thin = sliding_window(30, 40, scales=[1.0], ratios=[1e-300, 1e300])
    assert np.unique(thin[:, 2:] - thin[:, :2], axis=0).tolist() == [[1, 30], [40, 1]]
    windows = sliding_window(10, 500, scales=[1.0], ratios=[1.0])
    assert ((windows[:, 2:] - windows[:, :2]) == [round(5000**0.5), 10]).all()


def test_the_number_of_windows_depends_little_on_size_and_shape() -> None:
    counts = [len(sliding_window(*shape)) for shape in [(100, 100), (375, 500), (3000, 4000), (60, 1000), (200, 10000)]]
    assert max(counts) < 2 * min(counts)


def test_large_windows_come_first() -> None:
    scales = (0.25, 0.8, 0.5)
    windows = sliding_window(300, 400, scales=scales, ratios=[1.0])
    areas = area(windows)
    assert (np.diff(areas) <= 0).all()
    assert len(np.unique(areas)) == len(scales)


@pytest.mark.parametrize("count", [16, 40, 100, 300])
def test_every_beginning_is_spread_over_the_image(count: int) -> None:
    windows = sliding_window(300, 400, count, scales=[0.1], ratios=[0.5, 1.0, 2.0])
    centres = (windows[:, :2] + windows[:, 2:]) / 2
    quarters = (centres[:, 0] > 200).astype(int) + 2 * (centres[:, 1] > 150)
    shares = np.bincount(quarters, minlength=4) / count
    assert shares.min() > 0.12 and shares.max() < 0.4
    shapes = np.unique(windows[:, 2:] - windows[:, :2], axis=0, return_counts=True)[1] / count
    np.testing.assert_allclose(shapes, 1 / 3, atol=0.06)


def test_an_object_of_a_window_s_shape_is_met_wherever_it_lies() -> None:
    windows = sliding_window(300, 400)
    sides = {tuple(size) for size in (windows[:, 2:] - windows[:, :2]).astype(int)}
    rng = np.random.default_rng(0)
    for w, h in sides:
        x, y = rng.integers(0, 400 - w + 1), rng.integers(0, 300 - h + 1)
        # A sixth of a side off in both directions, and half a pixel for rounding.
        least = np.prod([1 - 1 / 6 - 0.5 / side for side in (w, h)])
        assert iou(np.array([[x, y, x + w, y + h]], np.float32), windows).max() >= least / (2 - least)


def test_fewer_windows_are_the_first_of_more() -> None:
    every = sliding_window(120, 200)
    for count in (1, 2, 10, 333, len(every) - 1, len(every), len(every) + 1):
        np.testing.assert_array_equal(sliding_window(120, 200, count), every[:count])
    assert sliding_window(120, 200, 0).shape == (0, 4) and sliding_window(120, 200, 0).dtype == np.float32


def test_the_order_of_the_arguments_changes_no_window() -> None:
    given = sliding_window(90, 120, scales=[0.5, 0.25, 0.5], ratios=[1.0, 2.0, 1.0])
    np.testing.assert_array_equal(given, sliding_window(90, 120, scales=[0.25, 0.5], ratios=[1.0, 2.0]))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"height": 0}, "1x1"),
        ({"width": -3}, "1x1"),
        ({"scales": []}, "scales"),
        ({"scales": [0.5, 0.0]}, "scales"),
        ({"ratios": [float("nan")]}, "ratios"),
        ({"ratios": [float("inf")]}, "ratios"),
        ({"stride": 0.0}, "stride"),
        ({"stride": 1.5}, "stride"),
    ],
)
def test_other_arguments_are_refused(arguments: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        sliding_window(**({"height": 30, "width": 40} | arguments))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (2, 2), (2, 3), (5, 4), (9, 13)])
def test_windows_are_counted(height: int, width: int) -> None:
    rows = [(top, bottom) for top, bottom in itertools.combinations(range(height + 1), 2) if bottom - top >= 2]
    columns = [(left, right) for left, right in itertools.combinations(range(width + 1), 2) if right - left >= 2]
    assert count_windows(height, width) == len(list(itertools.product(rows, columns)))


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 375), (1, 10**6)])
def test_the_count_is_the_sum_it_stands_for(height: int, width: int) -> None:
    down = sum(height - h + 1 for h in range(2, height + 1))
    right = sum(width - w + 1 for w in range(2, width + 1))
    assert count_windows(height, width) == down * right


def test_the_count_is_exact_beyond_64_bits() -> None:
    side = np.int64(10**7)
    assert count_windows(side, side) == (10**7 * (10**7 - 1) // 2) ** 2
    with pytest.raises(ValueError, match="1x1"):
        count_windows(0, 5)
