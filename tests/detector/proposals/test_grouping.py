"""Against the paper's algorithm 1 written plainly: nothing is propagated, every similarity is taken from scratch."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.proposals.grouping import group, overlaps
from detector.proposals.regions import BINS, COLOUR_BINS, UNIT, describe, histograms, texture_codes
from detector.proposals.segmentation import neighbours, segment, sorted_edges, weigh

Use = tuple[bool, ...]
EVERY: Use = (True, True, True, True)
STRATEGIES: list[Use] = [use for use in itertools.product((True, False), repeat=4) if any(use)]


def touching(labels: np.ndarray) -> np.ndarray:
    """int32 (P, 2): all pairs of regions that share an edge of the grid."""
    sides = [(labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])]
    ends = np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in sides])
    ends = np.sort(ends[ends[:, 0] != ends[:, 1]], axis=1)
    return np.unique(ends, axis=0).astype(np.int32).reshape(-1, 2)


Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def parts(labels: np.ndarray, planes: np.ndarray) -> Parts:
    """(size, box, counts, histogram, pairs)"""
    size, box, counts = describe(labels, int(labels.max()) + 1, planes, texture_codes(planes))
    return size, box, counts, histograms(size, counts), touching(labels)


def found_boxes(regions: Parts, pixels: int, use: Use) -> list[list[int]]:
    size, box, counts, histogram, pairs = regions
    given_ = [array.copy() for array in regions]
    boxes = group(size, box, counts, histogram, pairs, overlaps(pairs, histogram), pixels, np.array(use))
    assert boxes.dtype == np.int32 and boxes.shape == (2 * len(size) - 1, 4)
    assert all((before == after).all() for before, after in zip(given_, regions, strict=True))
    return boxes.tolist()


def around(a: Sequence[int], b: Sequence[int]) -> list[int]:
    return [min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])]


def plain_boxes(regions: Parts, pixels: int, use: Use) -> list[list[int]]:
    """A region stands at the place of the first of its parts; of equally similar pairs the first is joined."""
    size = dict(enumerate(regions[0].tolist()))
    box = dict(enumerate(regions[1].tolist()))
    counts = dict(enumerate(regions[2]))
    histogram = dict(enumerate(regions[3].astype(int)))
    pairs = {(a, b) for a, b in regions[4].tolist()}
    per_pixel = np.float32(UNIT) / np.float32(pixels)

    def similarity(pair: tuple[int, int]) -> int:
        a, b = pair
        low = np.minimum(histogram[a], histogram[b])
        x1, y1, x2, y2 = around(box[a], box[b])
        both = size[a] + size[b]
        measures = (
            int(low[:COLOUR_BINS].sum()),
            int(low[COLOUR_BINS:].sum()),
            UNIT - int(np.float32(both) * per_pixel),
            UNIT - int(np.float32((x2 - x1) * (y2 - y1) - both) * per_pixel),
        )
        return sum(measure for measure, on in zip(measures, use, strict=True) if on)

    boxes = list(box.values())
    while len(size) > 1:
        a, b = max(sorted(pairs), key=similarity)
        size[a] += size.pop(b)
        counts[a] = counts[a] + counts[b]
        histogram[a] = histograms(np.array([size[a]], np.int32), counts[a][None])[0].astype(int)
        box[a] = around(box[a], box[b])
        renamed = ((a if p == b else p, a if q == b else q) for p, q in pairs)
        pairs = {(min(pair), max(pair)) for pair in renamed if pair[0] != pair[1]}
        boxes.append(box[a])
    return boxes


def box_of(mask: np.ndarray) -> list[int]:
    ys, xs = np.nonzero(mask)
    return [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]


def tiles(height: int, width: int, down: int, across: int) -> np.ndarray:
    """Labels (H, W): an uneven grid of down x across regions."""
    rows = np.minimum((np.arange(height) / height) ** 1.3 * down, down - 1).astype(np.int32)
    columns = np.minimum((np.arange(width) / width) ** 0.8 * across, across - 1).astype(np.int32)
    names = np.unique(rows[:, None] * across + columns[None], return_inverse=True)[1]
    return names.reshape(height, width).astype(np.int32)


def cells(height: int, width: int, count: int, seed: int = 5) -> np.ndarray:
    """Labels (H, W): `count` cells of irregular outline, so that no two pairs are equally similar for long."""
    centres = np.random.default_rng(seed).uniform(0, (height, width), (count, 2))
    places = np.stack(np.mgrid[:height, :width], axis=-1)
    return np.linalg.norm(places[:, :, None] - centres, axis=3).argmin(axis=2).astype(np.int32)


def shaded(labels: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """uint8 planes: noise that is brighter in some regions than in others."""
    shades = np.random.default_rng(6).integers(40, 256, labels.max() + 1)
    return (pixels.transpose(2, 0, 1) / 255 * shades[labels]).astype(np.uint8)


@pytest.mark.parametrize("use", STRATEGIES)
def test_boxes_are_those_of_the_plain_algorithm(noise: Callable[..., np.ndarray], use: Use) -> None:
    for labels in (cells(48, 67, 40), tiles(40, 61, 6, 7)):
        regions = parts(labels, shaded(labels, noise(*labels.shape, seed=3)))
        count = int(labels.max()) + 1
        boxes = found_boxes(regions, labels.size, use)
        assert boxes[:count] == [box_of(labels == r) for r in range(count)]
        assert boxes == plain_boxes(regions, labels.size, use)


@pytest.mark.parametrize("use", STRATEGIES)
@pytest.mark.parametrize("colours", [1, 2, 3])
def test_boxes_are_those_of_the_plain_algorithm_where_many_pairs_are_alike(use: Use, colours: int) -> None:
    for down, across in ((1, 9), (9, 1), (4, 5)):
        rows, columns = np.arange(4 * down) // 4, np.arange(4 * across) // 4
        labels = (rows[:, None] * across + columns[None]).astype(np.int32)
        planes = np.stack([(labels % colours * 90).astype(np.uint8)] * 3)
        regions = parts(labels, planes)
        assert found_boxes(regions, labels.size, use) == plain_boxes(regions, labels.size, use)


def test_boxes_of_any_small_image_are_those_of_the_plain_algorithm(
    pictures: Callable[..., st.SearchStrategy],
) -> None:
    @settings(deadline=None, max_examples=300, derandomize=True)
    @given(pictures(8), st.sampled_from([0, 16, 80]), st.integers(1, 4), st.sampled_from(STRATEGIES))
    def check(pixels: np.ndarray, k: float, min_size: int, use: Use) -> None:
        planes = pixels.transpose(2, 0, 1).copy()
        weights = weigh(planes)
        labels, count = segment(*sorted_edges(weights), *planes.shape[1:], np.float32(k), min_size)
        *described, every = parts(labels, planes)
        for pairs in (every, neighbours(labels, weights, count)[0]):
            regions = (*described, pairs)
            assert found_boxes(regions, labels.size, use) == plain_boxes(regions, labels.size, use)

    check()


def test_a_wide_region_with_many_neighbours(noise: Callable[..., np.ndarray]) -> None:
    # Its list of neighbours is long, and every merge changes it.
    labels = np.zeros((41, 60), np.int32)
    for i in range(60):
        y, x = divmod(i, 12)
        labels[8 * y + 1 : 8 * y + 5, 5 * x + 1 : 5 * x + 4] = i + 1
    planes = shaded(labels, noise(41, 60, seed=4, block=3))
    regions = parts(labels, planes)
    for use in STRATEGIES:
        assert found_boxes(regions, labels.size, use) == plain_boxes(regions, labels.size, use)


def paper_measures(a: np.ndarray, b: np.ndarray, planes: np.ndarray, codes: np.ndarray) -> tuple[float, ...]:
    """a, b: masks (H, W). The paper's similarities in colour, texture, size and fill, each in [0, 1]."""

    def colour(mask: np.ndarray) -> np.ndarray:
        counts = [np.bincount(plane[mask].astype(int) * 21 // 256, minlength=21) for plane in planes]
        return np.concatenate(counts) / (3 * mask.sum())

    def texture(mask: np.ndarray) -> np.ndarray:
        return np.bincount(codes[mask], minlength=48) / mask.sum()

    x1, y1, x2, y2 = box_of(a | b)
    both = a.sum() + b.sum()
    return (
        np.minimum(colour(a), colour(b)).sum(),
        np.minimum(texture(a), texture(b)).sum(),
        1 - both / a.size,
        1 - ((x2 - x1) * (y2 - y1) - both) / a.size,
    )


def paper_merges(labels: np.ndarray, planes: np.ndarray, use: Use) -> list[tuple[np.ndarray, float]]:
    """(mask of each new region, how far its similarity lay above the next best pair's) in the order of merging."""
    codes = texture_codes(planes)
    masks = [labels == r for r in range(labels.max() + 1)]
    merges = []
    while len(masks) > 1:
        names = np.zeros(labels.shape, np.int32)
        for name, mask in enumerate(masks):
            names[mask] = name
        pairs = touching(names).tolist()
        measures = [paper_measures(masks[i], masks[j], planes, codes) for i, j in pairs]
        scores = np.array(measures)[:, np.array(use)].sum(axis=1)
        order = np.argsort(scores)[::-1]
        lead = scores[order[0]] - scores[order[1]] if len(order) > 1 else np.inf
        i, j = pairs[order[0]]
        union = masks[i] | masks[j]
        merges.append((union, lead))
        masks = [mask for r, mask in enumerate(masks) if r not in (i, j)] + [union]
    return merges


@pytest.mark.parametrize("use", STRATEGIES)
def test_merges_are_the_papers_until_it_is_close(noise: Callable[..., np.ndarray], use: Use) -> None:
    compared = 0
    for seed in range(6):
        labels = cells(24, 37, 9, seed)
        planes = shaded(labels, noise(24, 37, seed=seed))
        boxes = found_boxes(parts(labels, planes), labels.size, use)[9:]
        for box, (mask, lead) in zip(boxes, paper_merges(labels, planes, use), strict=True):
            if lead < 0.001:
                break  # rounding may choose the other pair
            assert box == box_of(mask)
            compared += 1
    assert compared >= 12


def test_overlaps_are_the_papers_but_for_rounding(noise: Callable[..., np.ndarray]) -> None:
    labels = cells(24, 37, 16)
    planes = shaded(labels, noise(24, 37, seed=3))
    codes = texture_codes(planes)
    *_, histogram, pairs = parts(labels, planes)
    found = overlaps(pairs, histogram)
    assert found.shape == (len(pairs), 2) and found.dtype == np.int64 and len(pairs) > 20
    for (a, b), (colour, texture) in zip(pairs.tolist(), found.tolist(), strict=True):
        low = np.minimum(histogram[a], histogram[b]).astype(int)
        assert (colour, texture) == (low[:COLOUR_BINS].sum(), low[COLOUR_BINS:].sum())
        expected = paper_measures(labels == a, labels == b, planes, codes)[:2]
        np.testing.assert_allclose([colour / UNIT, texture / UNIT], expected, atol=0.003)


def test_overlaps_of_no_pairs_and_of_equal_regions() -> None:
    assert overlaps(np.empty((0, 2), np.int32), np.zeros((1, BINS), np.uint16)).shape == (0, 2)
    histogram = np.full((2, BINS), UNIT // 64, np.uint16)
    assert overlaps(np.array([[0, 1]], np.int32), histogram).tolist() == [[UNIT, UNIT]]


def test_the_last_region_is_the_whole_image(noise: Callable[..., np.ndarray]) -> None:
    labels = tiles(24, 37, 4, 5)
    regions = parts(labels, noise(24, 37).transpose(2, 0, 1).copy())
    for use in STRATEGIES:
        assert found_boxes(regions, labels.size, use)[-1] == [0, 0, 37, 24]


def test_one_region_is_its_own_group(noise: Callable[..., np.ndarray]) -> None:
    for height, width in ((1, 1), (6, 9)):
        regions = parts(np.zeros((height, width), np.int32), noise(height, width).transpose(2, 0, 1).copy())
        for use in STRATEGIES:
            assert found_boxes(regions, height * width, use) == [[0, 0, width, height]]


def test_like_colours_are_joined_first() -> None:
    labels = np.repeat(np.arange(4, dtype=np.int32), 10)[None].repeat(8, 0)  # four stripes in a row
    planes = np.empty((3, 8, 40), np.uint8)
    planes[:, :, :20], planes[:, :, 20:] = np.array([[[200]], [[30]], [[30]]]), np.array([[[30]], [[30]], [[200]]])
    boxes = found_boxes(parts(labels, planes), labels.size, (True, False, False, False))
    assert boxes[4:6] == [[0, 0, 20, 8], [20, 0, 40, 8]]


def test_like_textures_are_joined_first() -> None:
    labels = np.repeat(np.arange(3, dtype=np.int32), 12)[None].repeat(12, 0)
    grey = np.full((12, 36), 100)
    grey[:, 12:] += 40 * (np.arange(12) % 4 < 2)[:, None]  # level lines across the second and the third region
    planes = np.stack([grey.astype(np.uint8)] * 3)
    boxes = found_boxes(parts(labels, planes), labels.size, (False, True, False, False))
    assert boxes[3] == [12, 0, 36, 12]


def test_small_regions_and_those_that_fill_their_box_are_joined_first() -> None:
    labels = np.repeat(np.arange(4, dtype=np.int32), [20, 3, 2, 20])[None].repeat(6, 0)
    regions = parts(labels, np.zeros((3, 6, 45), np.uint8))
    assert found_boxes(regions, labels.size, (False, False, True, False))[4] == [20, 0, 25, 6]
    # An L and the square that it holds.
    labels = np.array([[0, 1, 2, 2], [0, 0, 2, 2]], np.int32).repeat(5, 0).repeat(5, 1)
    regions = parts(labels, np.zeros((3, 10, 20), np.uint8))
    assert found_boxes(regions, labels.size, (False, False, False, True))[3] == [0, 0, 10, 10]


def test_equal_similarities_take_the_first_pair() -> None:
    labels = np.repeat(np.arange(5, dtype=np.int32), 8)[None].repeat(4, 0)
    regions = parts(labels, np.full((3, 4, 40), 90, np.uint8))
    boxes = found_boxes(regions, labels.size, (True, True, False, False))
    assert boxes[5:] == [[0, 0, 8 * n, 4] for n in (2, 3, 4, 5)]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4), st.integers(1, 4), st.sampled_from(STRATEGIES))
def test_every_new_box_holds_two_that_were_not_yet_joined(
    height: int, width: int, down: int, across: int, use: Use
) -> None:
    labels = tiles(height, width, down, across)
    planes = np.random.default_rng(height * width).integers(0, 256, (3, height, width)).astype(np.uint8)
    boxes = [tuple(box) for box in found_boxes(parts(labels, planes), labels.size, use)]
    regions = int(labels.max()) + 1
    # Which two a box is made of may be open: every possible rest.
    rests = {tuple(sorted(boxes[:regions]))}
    for box in boxes[regions:]:
        longer, rests = rests, set()
        for rest in longer:
            for i, j in itertools.combinations(range(len(rest)), 2):
                if around(rest[i], rest[j]) == list(box):
                    others = [other for place, other in enumerate(rest) if place not in (i, j)]
                    rests.add(tuple(sorted([*others, box])))
    assert rests == {((0, 0, width, height),)}
