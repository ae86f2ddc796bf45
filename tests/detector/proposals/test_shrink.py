from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from detector.proposals.shrink import shrink, small_shape

FAST, QUALITY = 256 * 192, 400 * 300


def triangles(source: int, target: int) -> np.ndarray:
    """float64 (target, source): the share of each source pixel in each target pixel."""
    ratio = source / target
    distance = np.abs((np.arange(source) + 0.5)[None] - (np.arange(target) + 0.5)[:, None] * ratio)
    weights = np.maximum(0, 1 - distance / ratio)
    return weights / weights.sum(axis=1, keepdims=True)


def plain_shrink(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """float64 planes (3, height, width), not rounded."""
    down, across = triangles(rgb.shape[0], height), triangles(rgb.shape[1], width)
    return np.stack([down @ rgb[:, :, c].astype(np.float64) @ across.T for c in range(3)])


def check(rgb: np.ndarray, height: int, width: int) -> None:
    found = shrink(rgb, height, width)
    assert found.dtype == np.uint8 and found.shape == (3, height, width) and found.flags.c_contiguous
    assert np.abs(found - plain_shrink(rgb, height, width)).max() <= 0.501
    pillow = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))
    assert np.abs(found.transpose(1, 2, 0).astype(int) - pillow).max() <= 1


def test_an_image_is_pillows_within_one_grey_level(noise: Callable[..., np.ndarray]) -> None:
    y, x = np.mgrid[:90, :130]
    smooth = np.stack([x * 255 // 129, y * 255 // 89, 255 * ((x // 9 + y // 7) % 2)], axis=-1).astype(np.uint8)
    for pixels in (noise(90, 130), noise(90, 130, block=4), smooth, 255 - smooth):
        for height, width in ((90, 129), (89, 130), (45, 65), (37, 41), (5, 7), (1, 1), (1, 130), (90, 1)):
            check(pixels, height, width)
    check(noise(600, 800, block=3), 192, 256)


@pytest.mark.parametrize(
    ("source", "target"), [((1, 700), (1, 60)), ((700, 1), (60, 1)), ((2, 900), (1, 77)), ((900, 3), (80, 2))]
)
def test_a_line_of_pixels_is_pillows(
    noise: Callable[..., np.ndarray], source: tuple[int, int], target: tuple[int, int]
) -> None:
    check(noise(*source), *target)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.data(), st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))
def test_any_size_is_pillows(data: st.DataObject, height: int, width: int, block: int) -> None:
    shape = (-(-height // block), -(-width // block), 3)
    blocks = np.random.default_rng(height * 41 + width).integers(0, 256, shape).astype(np.uint8)
    pixels = np.ascontiguousarray(blocks.repeat(block, 0).repeat(block, 1)[:height, :width])
    check(pixels, data.draw(st.integers(1, height)), data.draw(st.integers(1, width)))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (33, 57)])
def test_an_image_of_the_size_asked_for_is_itself(noise: Callable[..., np.ndarray], shape: tuple[int, int]) -> None:
    pixels = noise(*shape)
    np.testing.assert_array_equal(shrink(pixels, *shape), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (1, 254, 128), (255, 0, 77)])
@pytest.mark.parametrize(
    "shapes", [(50, 70, 50, 31), (50, 70, 3, 2), (1, 3000, 1, 1), (3000, 2, 7, 1), (97, 89, 96, 88)]
)
def test_one_colour_stays_that_colour(colour: tuple[int, int, int], shapes: tuple[int, int, int, int]) -> None:
    found = shrink(np.full((*shapes[:2], 3), colour, np.uint8), *shapes[2:])
    assert (found == np.array(colour)[:, None, None]).all()


def check_shape(height: int, width: int, area: int) -> None:
    small = small_shape(height, width, area)
    assert 1 <= small[0] <= height and 1 <= small[1] <= width
    assert max(small) <= 65_535
    if height * width <= area and max(height, width) <= 65_535:
        assert small == (height, width)
        return
    factor = min((area / (height * width)) ** 0.5, 65_535 / max(height, width))
    if min(height, width) * factor >= 1 + 1e-9:
        assert abs(small[0] - height * factor) <= 0.5 + 1e-6 and abs(small[1] - width * factor) <= 0.5 + 1e-6
    elif min(height, width) * factor < 1 - 1e-9:  # no shape like it has enough pixels across
        assert sorted(small) == [1, min(area, 65_535)]


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.integers(1, 30000), st.integers(1, 30000), st.integers(1, 200000))
@example(1, 1, 1)
@example(3, 3, 1)
@example(1, 30000, 30000)
@example(1, 30000, 29999)
def test_a_small_shape_is_like_the_large_one(height: int, width: int, area: int) -> None:
    check_shape(height, width, area)
    assert small_shape(height, width, area) == small_shape(width, height, area)[::-1]


SIZES = [(1, 1), (1, 50), (50, 1), (1, 20000), (20000, 1), (100, 5000), (20, 20000), (3, 10**6), (10**6, 2), (375, 500),
         (192, 256), (193, 256), (300, 400), (4000, 3000), (20000, 20000), (1, 10**7)]  # fmt: skip


@pytest.mark.parametrize("area", [FAST, QUALITY])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_no_image_is_searched_with_many_more_pixels_than_asked(height: int, width: int, area: int) -> None:
    check_shape(height, width, area)
    small_height, small_width = small_shape(height, width, area)
    # Half a row out of one and a half is the most that rounding adds.
    assert min(area / 1.5, 65_535, height * width) <= small_height * small_width <= area * 4 / 3


def test_known_small_shapes() -> None:
    assert small_shape(384, 512, FAST) == (192, 256)
    assert small_shape(3000, 4000, QUALITY) == (300, 400)
    assert small_shape(20000, 20000, FAST) == (222, 222)
    assert small_shape(1, 20000, FAST) == (1, 20000)
    assert small_shape(20000, 1, 1000) == (1000, 1)
    assert small_shape(1, 49153, FAST) == (1, 49152)
    assert small_shape(100, 5000, 5000) == (10, 500)
