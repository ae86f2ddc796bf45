from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.proposals.regions import BINS, COLOUR_BINS, UNIT, combine, describe, histograms, texture_codes

TEXTURES = 48


def blocks(height: int, width: int, regions: int, seed: int = 0) -> np.ndarray:
    """Labels int32 (H, W) in which each of `regions` occurs."""
    labels = np.random.default_rng(seed).integers(0, regions, (height, width)).astype(np.int32)
    labels.ravel()[:regions] = np.arange(regions)
    return labels


def plain_code(grey: list[list[int]], y: int, x: int) -> int:
    """Orientation of the grey gradient in eight sectors, magnitude |gx| + |gy| in six steps."""
    height, width = len(grey), len(grey[0])
    gx = grey[y][min(x + 1, width - 1)] - grey[y][max(x - 1, 0)]
    gy = grey[min(y + 1, height - 1)][x] - grey[max(y - 1, 0)][x]
    step = sum(abs(gx) + abs(gy) >= threshold for threshold in (2, 5, 11, 23, 47))
    octant = 4 * (gy < 0) + 2 * ((gx < 0) != (gy < 0)) + (abs(gy) > abs(gx))
    return octant * 6 + step


def plain_codes(planes: np.ndarray) -> list[list[int]]:
    _, height, width = planes.shape
    red, green, blue = planes.astype(int).tolist()
    grey = [
        [(77 * red[y][x] + 150 * green[y][x] + 29 * blue[y][x]) // 256 for x in range(width)] for y in range(height)
    ]
    return [[plain_code(grey, y, x) for x in range(width)] for y in range(height)]


def test_texture_codes_are_the_plain_loops(noise: Callable[..., np.ndarray]) -> None:
    for shape in ((1, 1), (1, 2), (2, 1), (1, 8), (8, 1), (17, 29)):
        full = noise(*shape).transpose(2, 0, 1).copy()
        faint = 100 + full // np.uint8(40)
        for planes in (full, faint, np.where(full > 127, np.uint8(255), np.uint8(0))):
            codes = texture_codes(planes)
            assert codes.dtype == np.uint8 and codes.max() < TEXTURES <= BINS - COLOUR_BINS
            assert codes.tolist() == plain_codes(planes)


def test_the_eight_octants_of_gradient_have_codes_of_their_own() -> None:
    ramp_x, ramp_y = np.meshgrid(np.arange(5), np.arange(5))
    seen = set()
    for dx, dy in [(9, 4), (4, 9), (-4, 9), (-9, 4), (-9, -4), (-4, -9), (4, -9), (9, -4)]:
        grey = (100 + dx * ramp_x + dy * ramp_y).astype(np.uint8)
        seen.add(int(texture_codes(np.stack([grey] * 3))[2, 2]) // 6)
    assert seen == set(range(8))


def test_one_colour_has_one_texture() -> None:
    for value in (0, 128, 255):
        assert (texture_codes(np.full((3, 6, 9), value, np.uint8)) == 0).all()


def test_describe_is_numpys(noise: Callable[..., np.ndarray]) -> None:
    for height, width, regions in ((15, 22, 6), (1, 1, 1), (1, 40, 5), (40, 1, 5), (9, 9, 81)):
        labels, planes = blocks(height, width, regions), noise(height, width).transpose(2, 0, 1).copy()
        planes[:, 0, 0] = 255
        codes = (noise(height, width, seed=1)[:, :, 0] % TEXTURES).astype(np.uint8)
        size, box, counts = describe(labels, regions, planes, codes)
        assert counts.shape == (regions, BINS) and counts.dtype == size.dtype == box.dtype == np.int32
        for r in range(regions):
            inside = labels == r
            ys, xs = np.nonzero(inside)
            assert size[r] == inside.sum()
            assert box[r].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            colours = [np.bincount(planes[c][inside].astype(int) * 21 // 256, minlength=21) for c in range(3)]
            texture = np.bincount(codes[inside], minlength=BINS - COLOUR_BINS)
            assert counts[r].tolist() == np.concatenate([*colours, [0], texture]).tolist()


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(1, 14), st.integers(1, 14), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_regions_combined_are_those_of_the_coarser_labels(
    height: int, width: int, fine: int, coarse: int, seed: int
) -> None:
    fine = min(fine, height * width)
    coarse = min(coarse, fine)
    labels, names = blocks(height, width, fine, seed), blocks(1, fine, coarse, seed)[0]
    random = np.random.default_rng(seed)
    planes = random.integers(0, 256, (3, height, width)).astype(np.uint8)
    codes = random.integers(0, TEXTURES, (height, width)).astype(np.uint8)
    found = combine(names, coarse, *describe(labels, fine, planes, codes))
    for value, expected in zip(found, describe(names[labels], coarse, planes, codes), strict=True):
        assert value.dtype == expected.dtype
        np.testing.assert_array_equal(value, expected)


def test_each_half_of_a_histogram_sums_to_the_unit_but_for_rounding(noise: Callable[..., np.ndarray]) -> None:
    for height, width, regions in ((1, 1, 1), (15, 22, 6), (60, 90, 3), (300, 400, 1)):
        labels, planes = blocks(height, width, regions), noise(height, width).transpose(2, 0, 1).copy()
        size, _, counts = describe(labels, regions, planes, texture_codes(planes))
        found = histograms(size, counts)
        assert found.shape == (regions, BINS) and found.dtype == np.uint16
        expected = counts * UNIT / np.where(np.arange(BINS) < COLOUR_BINS, 3 * size[:, None], size[:, None])
        assert np.abs(found - expected).max() <= 0.502
        for half in (found[:, :COLOUR_BINS], found[:, COLOUR_BINS:]):
            assert (np.abs(half.sum(axis=1) - float(UNIT)) <= (half > 0).sum(axis=1) / 2 + 1).all()


def test_a_region_of_one_colour_has_full_bins() -> None:
    labels, planes = np.zeros((5, 7), np.int32), np.full((3, 5, 7), 255, np.uint8)
    size, _, counts = describe(labels, 1, planes, texture_codes(planes))
    found = histograms(size, counts)[0]
    assert {i: int(found[i]) for i in np.flatnonzero(found)} == {20: 5461, 41: 5461, 62: 5461, COLOUR_BINS: UNIT}
