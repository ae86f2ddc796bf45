"""Against Felzenszwalb and Huttenlocher's algorithm written plainly: sets of pixels, no union-find."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.proposals.segmentation import segment, sorted_edges


def plain_edges(pixels: np.ndarray) -> list[tuple[float, int, tuple[int, int], tuple[int, int]]]:
    """(weight, number, pixel, other pixel), lightest first, then by number."""
    height, width, _ = pixels.shape
    found = []
    for y in range(height):
        for x in range(width):
            for number, (ny, nx) in ((0, (y, x + 1)), (1, (y + 1, x))):
                if ny < height and nx < width:
                    distance = np.linalg.norm(pixels[y, x].astype(float) - pixels[ny, nx].astype(float))
                    found.append((np.floor(2 * distance) / 2, 2 * (y * width + x) + number, (y, x), (ny, nx)))
    return sorted(found)


def plain_segments(pixels: np.ndarray, k: float, min_size: int) -> np.ndarray:
    """Labels (H, W) in raster order of each region's first pixel."""
    height, width, _ = pixels.shape
    region = {(y, x): frozenset([(y, x)]) for y in range(height) for x in range(width)}
    inner = dict.fromkeys(region.values(), 0.0)
    edges = plain_edges(pixels)

    def join(a: frozenset, b: frozenset, weight: float) -> None:
        union = a | b
        inner[union] = weight
        region.update(dict.fromkeys(union, union))

    for weight, _, p, q in edges:
        a, b = region[p], region[q]
        if a != b and weight <= min(inner[a] + k / len(a), inner[b] + k / len(b)):
            join(a, b, weight)
    for weight, _, p, q in edges:
        a, b = region[p], region[q]
        if a != b and min(len(a), len(b)) < min_size:
            join(a, b, weight)
    names: dict[frozenset, int] = {}
    labels = [names.setdefault(region[y, x], len(names)) for y in range(height) for x in range(width)]
    return np.array(labels).reshape(height, width)


def found_segments(pixels: np.ndarray, k: float, min_size: int) -> np.ndarray:
    labels, count = segment(*sorted_edges(pixels), *pixels.shape[:2], np.float32(k), min_size)
    assert labels.shape == pixels.shape[:2] and labels.dtype == np.int32
    assert np.unique(labels).tolist() == list(range(count))
    return labels


def test_edges_are_ordered_by_quantised_weight_then_in_raster_order(noise: Callable[..., np.ndarray]) -> None:
    pixels = noise(7, 11, block=2)
    edges, weights = sorted_edges(pixels)
    expected = plain_edges(pixels)
    assert edges.tolist() == [number for _, number, _, _ in expected]
    assert weights.tolist() == [weight for weight, _, _, _ in expected]


def test_black_beside_white_is_the_heaviest_edge() -> None:
    pixels = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    edges, weights = sorted_edges(pixels)
    assert edges.tolist() == [0] and weights.tolist() == [441.5]


# k / size is exact in binary for these, or far from every weight: the reference's float64 decides alike.
@pytest.mark.parametrize(("k", "min_size"), [(0.0, 0), (64.0, 0), (128.0, 6), (200.0, 20), (1e6, 0)])
@pytest.mark.parametrize("block", [1, 3])
def test_segments_are_the_plain_algorithms(
    noise: Callable[..., np.ndarray], k: float, min_size: int, block: int
) -> None:
    pixels = noise(13, 19, seed=4, block=block) // 3
    np.testing.assert_array_equal(found_segments(pixels, k, min_size), plain_segments(pixels, k, min_size))


def test_segments_of_any_small_picture_are_the_plain_algorithms(pictures: Callable[..., st.SearchStrategy]) -> None:
    @settings(deadline=None, max_examples=40, derandomize=True)
    @given(pictures(7), st.sampled_from([0.0, 16.0, 128.0, 512.0]), st.integers(0, 8))
    def check(pixels: np.ndarray, k: float, min_size: int) -> None:
        np.testing.assert_array_equal(found_segments(pixels, k, min_size), plain_segments(pixels, k, min_size))

    check()


def test_no_region_is_smaller_than_asked_unless_the_picture_is(noise: Callable[..., np.ndarray]) -> None:
    labels = found_segments(noise(30, 47), 0.0, 20)
    assert labels.max() > 5 and np.bincount(labels.ravel()).min() >= 20
    assert (found_segments(noise(3, 4), 0.0, 20) == 0).all()


def test_a_larger_k_gives_fewer_regions(noise: Callable[..., np.ndarray]) -> None:
    pixels = noise(30, 47)
    counts = [found_segments(pixels, k, 0).max() for k in (50.0, 200.0, 2000.0)]
    assert counts[0] > counts[1] > counts[2]
