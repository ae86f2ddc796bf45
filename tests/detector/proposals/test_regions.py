from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.proposals.regions import BINS, COLOUR_BINS, TEXTURE_BINS, describe, neighbours, texture_codes


def blocks(height: int, width: int, regions: int, seed: int = 0) -> np.ndarray:
    """Labels int32 (H, W) in which each of `regions` occurs."""
    labels = np.random.default_rng(seed).integers(0, regions, (height, width)).astype(np.int32)
    labels.ravel()[:regions] = np.arange(regions)
    return labels


def plain_codes(rgb: np.ndarray) -> np.ndarray:
    """Orientation of the grey gradient in eight sectors, magnitude |gx| + |gy| in six steps."""
    grey = rgb.astype(np.int64) @ np.array([77, 150, 29])
    padded = np.pad(grey, 1, mode="edge")
    gx, gy = padded[1:-1, 2:] - padded[1:-1, :-2], padded[2:, 1:-1] - padded[:-2, 1:-1]
    steps = np.digitize((np.abs(gx) + np.abs(gy)) >> 8, [2, 5, 11, 23, 47])
    octants = 4 * (gy < 0) + 2 * ((gx < 0) ^ (gy < 0)) + (np.abs(gy) > np.abs(gx))
    return octants * 6 + steps


def test_texture_codes_are_numpys(noise: Callable[..., np.ndarray]) -> None:
    for shape in ((1, 1), (1, 8), (8, 1), (17, 29)):
        pixels = noise(*shape) // np.uint8(2)
        codes = texture_codes(pixels)
        assert codes.dtype == np.uint8 and codes.max() < TEXTURE_BINS
        np.testing.assert_array_equal(codes, plain_codes(pixels))


def test_the_eight_octants_of_gradient_have_codes_of_their_own() -> None:
    ramp_x, ramp_y = np.meshgrid(np.arange(5), np.arange(5))
    seen = set()
    for dx, dy in [(9, 4), (4, 9), (-4, 9), (-9, 4), (-9, -4), (-4, -9), (4, -9), (9, -4)]:
        grey = (100 + dx * ramp_x + dy * ramp_y).astype(np.uint8)
        seen.add(int(texture_codes(np.repeat(grey[:, :, None], 3, axis=2))[2, 2]) // 6)
    assert len(seen) == 8


def test_describe_is_numpys(noise: Callable[..., np.ndarray]) -> None:
    labels, colours = blocks(15, 22, 6), noise(15, 22)
    codes = (noise(15, 22, seed=1)[:, :, 0] % TEXTURE_BINS).astype(np.uint8)
    size, box, histogram = describe(labels, 6, colours, codes)
    assert histogram.shape == (6, BINS) and histogram.dtype == np.float32
    for r in range(6):
        inside = labels == r
        ys, xs = np.nonzero(inside)
        assert size[r] == inside.sum()
        assert box[r].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        for c in range(3):
            bins = np.bincount(colours[inside][:, c].astype(int) * 25 // 256, minlength=25)
            np.testing.assert_allclose(histogram[r, c * 25 : c * 25 + 25], bins / (3 * size[r]), rtol=1e-6)
        texture = np.bincount(codes[inside], minlength=TEXTURE_BINS)
        np.testing.assert_allclose(histogram[r, COLOUR_BINS:], texture / size[r], rtol=1e-6)
    np.testing.assert_allclose(histogram[:, :COLOUR_BINS].sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(histogram[:, COLOUR_BINS:].sum(axis=1), 1, rtol=1e-5)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_neighbours_are_the_pairs_that_share_an_edge(height: int, width: int, seed: int) -> None:
    regions = min(6, height * width)
    labels = blocks(height, width, regions, seed)
    sides = (
        np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()]),
        np.stack([labels[:-1].ravel(), labels[1:].ravel()]),
    )
    touching = np.concatenate(sides, axis=1).T.tolist()
    expected = sorted({(min(pair), max(pair)) for pair in touching if pair[0] != pair[1]})
    found = neighbours(labels, regions)
    assert found.shape == (len(expected), 2)
    assert [tuple(pair) for pair in found.tolist()] == expected
