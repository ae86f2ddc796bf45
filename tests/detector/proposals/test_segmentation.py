"""Against Felzenszwalb and Huttenlocher's algorithm written plainly: sets of pixels and of regions, no union-find."""

import math
from collections.abc import Callable, Hashable, Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.proposals.segmentation import coarse_neighbours, coarsen, neighbours, segment, sorted_edges, weigh

Pixel = tuple[int, int]
Edge = tuple[int, int, Pixel, Pixel]
Pair = tuple[int, int]


def every_edge(planes: np.ndarray) -> list[Edge]:
    """(weight, number, pixel, other pixel) of all pixels that touch, lightest first, then by number."""
    _, height, width = planes.shape
    found = []
    for y in range(height):
        for x in range(width):
            for down, (ny, nx) in enumerate(((y, x + 1), (y + 1, x))):
                if ny < height and nx < width:
                    squares = sum((int(plane[y, x]) - int(plane[ny, nx])) ** 2 for plane in planes)
                    found.append((min(math.isqrt(squares), 254), 2 * (y * width + x) + down, (y, x), (ny, nx)))
    return sorted(found)


def plain_edges(planes: np.ndarray) -> list[Edge]:
    """Those without the heaviest of each square of four pixels, the last one among equals."""
    _, height, width = planes.shape
    edges = every_edge(planes)
    place = {(p, q): place for place, (_, _, p, q) in enumerate(edges)}
    dropped = set()
    for y in range(height - 1):
        for x in range(width - 1):
            here, right, below, across = (y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)
            top, left, right_side, bottom = (here, right), (here, below), (right, across), (below, across)
            # Among equals the last one in this order, which is also that of the edges' numbers.
            heaviest = top
            for side in (left, right_side, bottom):
                if edges[place[side]][0] >= edges[place[heaviest]][0]:
                    heaviest = side
            dropped.add(heaviest)
    return [edge for edge in edges if edge[2:] not in dropped]


def plain_segments(planes: np.ndarray, k: float, min_size: int) -> np.ndarray:
    """Labels (H, W) in raster order of each region's first pixel."""
    _, height, width = planes.shape
    region = {(y, x): frozenset([(y, x)]) for y in range(height) for x in range(width)}
    limit = dict.fromkeys(region.values(), np.float32(k))
    edges = plain_edges(planes)

    def join(a: frozenset[Pixel], b: frozenset[Pixel], weight: int) -> None:
        union = a | b
        limit[union] = np.float32(weight) + np.float32(k) / np.float32(len(union))
        region.update(dict.fromkeys(union, union))

    for weight, _, p, q in edges:
        a, b = region[p], region[q]
        if a != b and weight <= min(limit[a], limit[b]):
            join(a, b, weight)
    for weight, _, p, q in edges:
        a, b = region[p], region[q]
        if a != b and min(len(a), len(b)) < min_size:
            join(a, b, weight)
    names: dict[frozenset[Pixel], int] = {}
    labels = [names.setdefault(region[y, x], len(names)) for y in range(height) for x in range(width)]
    return np.array(labels).reshape(height, width)


def found_segments(planes: np.ndarray, k: float, min_size: int) -> tuple[np.ndarray, int]:
    labels, count = segment(*sorted_edges(weigh(planes)), *planes.shape[1:], np.float32(k), min_size)
    assert labels.shape == planes.shape[1:] and labels.dtype == np.int32 and count == labels.max() + 1
    return labels, count


def check_segments(planes: np.ndarray, k: float, min_size: int) -> None:
    np.testing.assert_array_equal(found_segments(planes, k, min_size)[0], plain_segments(planes, k, min_size))


def connected(nodes: Iterable[Hashable], links: Iterable[tuple[Hashable, Hashable]]) -> list[set[Hashable]]:
    """The parts of a graph."""
    beside: dict[Hashable, list[Hashable]] = {node: [] for node in nodes}
    for a, b in links:
        beside[a].append(b)
        beside[b].append(a)
    parts = []
    seen: set[Hashable] = set()
    for node in beside:
        if node in seen:
            continue
        part, waiting = {node}, [node]
        while waiting:
            new = [other for other in beside[waiting.pop()] if other not in part]
            part.update(new)
            waiting += new
        seen |= part
        parts.append(part)
    return parts


def touching(labels: np.ndarray) -> dict[Pair, int]:
    """Return the number of edges of the grid that two regions share."""
    shared: dict[Pair, int] = {}
    for a, b in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        for p, q in zip(a[a != b].tolist(), b[a != b].tolist(), strict=True):
            pair = (min(p, q), max(p, q))
            shared[pair] = shared.get(pair, 0) + 1
    return shared


def lightest_first(links: Iterable[tuple[int, int, int]]) -> dict[Pair, int]:
    """(region, region, weight) in order -> the weight at which each pair of two comes first."""
    found: dict[Pair, int] = {}
    for a, b, weight in links:
        if a != b:
            found.setdefault((min(a, b), max(a, b)), weight)
    return found


def as_listed(pairs: np.ndarray, weights: np.ndarray) -> list[tuple[Pair, int]]:
    assert pairs.dtype == np.int32 and pairs.shape == (len(pairs), 2)
    assert weights.dtype == np.uint8 and weights.shape == (len(pairs),)
    return [((a, b), weight) for (a, b), weight in zip(pairs.tolist(), weights.tolist(), strict=True)]


def check_edges(planes: np.ndarray) -> None:
    given = weigh(planes)
    before = given.copy()
    edges, starts = sorted_edges(given)
    np.testing.assert_array_equal(given, before)
    expected = plain_edges(planes)
    assert edges.dtype == starts.dtype == np.int32 and starts.shape == (256,)
    assert edges.tolist() == [number for _, number, _, _ in expected]
    weights = [weight for weight, _, _, _ in expected]
    assert starts.tolist() == [sum(other < weight for other in weights) for weight in range(256)]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (2, 1), (1, 9), (9, 1), (2, 2), (2, 5), (5, 2), (7, 11)])
@pytest.mark.parametrize("block", [1, 2])
def test_edges_are_ordered_by_weight_then_in_raster_order(
    noise: Callable[..., np.ndarray], height: int, width: int, block: int
) -> None:
    check_edges(noise(height, width, block=block).transpose(2, 0, 1).copy())


def test_edges_of_any_small_image(pictures: Callable[..., st.SearchStrategy]) -> None:
    @settings(deadline=None, max_examples=60, derandomize=True)
    @given(pictures(6))
    def check(pixels: np.ndarray) -> None:
        check_edges(pixels.transpose(2, 0, 1).copy())

    check()


@pytest.mark.parametrize(
    ("difference", "weight"),
    [((0, 0, 0), 0), ((0, 0, 1), 1), ((1, 1, 0), 1), ((1, 1, 1), 1), ((2, 2, 1), 3), ((1, 2, 2), 3), ((9, 9, 9), 15),
     ((0, 253, 0), 253), ((146, 146, 146), 252), ((0, 0, 254), 254), ((255, 0, 0), 254), ((0, 255, 255), 254),
     ((255, 255, 255), 254)],
)  # fmt: skip
def test_a_weight_is_the_distance_rounded_down_and_has_an_end(difference: tuple[int, int, int], weight: int) -> None:
    for colours in ([(0, 0, 0), difference], [difference, (0, 0, 0)]):
        for shape in ((3, 1, 2), (3, 2, 1)):
            edges, starts = sorted_edges(weigh(np.array(colours, np.uint8).T.reshape(shape).copy()))
            assert edges.tolist() == [0 if shape[2] == 2 else 1]
            assert np.flatnonzero(starts)[0] == weight + 1


def test_of_equal_edges_round_a_square_the_last_goes() -> None:
    edges, _ = sorted_edges(weigh(np.full((3, 2, 2), 7, np.uint8)))
    assert edges.tolist() == [0, 1, 3]  # top, left, right; not the bottom, 4


def test_edges_left_out_are_in_no_lightest_spanning_tree(noise: Callable[..., np.ndarray]) -> None:
    def tree(edges: list[Edge]) -> tuple[int, int]:
        region = {p: {p} for _, _, *ends in edges for p in ends}
        taken = []
        for weight, _, p, q in edges:
            if region[p] is not region[q]:
                region[p] |= region[q]
                for other in region[q]:
                    region[other] = region[p]
                taken.append(weight)
        return len(taken), sum(taken)

    for block in (1, 2, 3):
        planes = noise(9, 14, seed=2, block=block).transpose(2, 0, 1).copy()
        left = set(sorted_edges(weigh(planes))[0].tolist())
        edges = every_edge(planes)
        kept = [edge for edge in edges if edge[1] in left]
        assert len(kept) < 0.75 * len(edges)
        assert tree(kept) == tree(edges) == (9 * 14 - 1, tree(edges)[1])


@pytest.mark.parametrize(("k", "min_size"), [(0, 0), (64, 0), (80, 6), (200, 20), (1e6, 0)])
@pytest.mark.parametrize("block", [1, 3])
def test_segments_are_the_plain_algorithms(
    noise: Callable[..., np.ndarray], k: float, min_size: int, block: int
) -> None:
    check_segments((noise(13, 19, seed=4, block=block) // 3).transpose(2, 0, 1).copy(), k, min_size)


def test_segments_of_any_small_image_are_the_plain_algorithms(pictures: Callable[..., st.SearchStrategy]) -> None:
    @settings(deadline=None, max_examples=200, derandomize=True)
    @given(pictures(7), st.sampled_from([0, 16, 80, 128, 333.3, 512, 5000]), st.integers(0, 60))
    def check(pixels: np.ndarray, k: float, min_size: int) -> None:
        check_segments(pixels.transpose(2, 0, 1).copy(), k, min_size)

    check()


@pytest.mark.parametrize("block", [1, 4])
@pytest.mark.parametrize(("k", "min_size"), [(0, 1), (80, 16), (120, 40), (400, 200), (0, 10**6)])
def test_regions_hang_together_and_are_no_smaller_than_asked(
    noise: Callable[..., np.ndarray], block: int, k: float, min_size: int
) -> None:
    for height, width in ((1, 90), (90, 1), (33, 47)):
        planes = noise(height, width, seed=8, block=block).transpose(2, 0, 1).copy()
        labels, count = found_segments(planes, k, min_size)
        pixels = [(y, x) for y in range(height) for x in range(width)]
        links = [(p, q) for _, _, p, q in every_edge(planes) if labels[p] == labels[q]]
        assert len(connected(pixels, links)) == count == labels.max() + 1
        assert np.bincount(labels.ravel()).min() >= min(min_size, height * width)
        first = np.unique(labels, return_index=True)[1]
        assert (np.diff(first) > 0).all()


def test_a_larger_k_gives_fewer_regions(noise: Callable[..., np.ndarray]) -> None:
    planes = noise(30, 47).transpose(2, 0, 1).copy()
    counts = [found_segments(planes, k, 0)[1] for k in (50, 200, 2000)]
    assert counts[0] > counts[1] > counts[2]


def check_neighbours(planes: np.ndarray, k: float, min_size: int) -> None:
    labels, count = found_segments(planes, k, min_size)
    expected = lightest_first((int(labels[p]), int(labels[q]), weight) for weight, _, p, q in every_edge(planes))
    assert as_listed(*neighbours(labels, weigh(planes), count)) == list(expected.items())
    assert expected.keys() == touching(labels).keys()
    assert len(connected(range(count), expected)) == 1
    # The pairs of a planar graph: there is room for no more than three a region.
    assert count < 3 or len(expected) <= 3 * count - 6


@pytest.mark.parametrize(("k", "min_size"), [(0, 1), (80, 1), (80, 6), (400, 16), (1e6, 1)])
@pytest.mark.parametrize("block", [1, 3])
def test_neighbours_have_their_lightest_edge_and_connect_all_regions(
    noise: Callable[..., np.ndarray], k: float, min_size: int, block: int
) -> None:
    for height, width in ((1, 1), (1, 30), (30, 1), (2, 2), (12, 17)):
        check_neighbours(noise(height, width, seed=6, block=block).transpose(2, 0, 1).copy(), k, min_size)


def test_neighbours_in_any_small_image(pictures: Callable[..., st.SearchStrategy]) -> None:
    @settings(deadline=None, max_examples=150, derandomize=True)
    @given(pictures(8), st.sampled_from([0, 16, 80, 512]), st.integers(1, 6))
    def check(pixels: np.ndarray, k: float, min_size: int) -> None:
        check_neighbours(pixels.transpose(2, 0, 1).copy(), k, min_size)

    check()


def test_four_tiles_that_meet_in_a_corner_are_neighbours_along_every_border() -> None:
    planes = np.repeat(np.array([[0, 90], [30, 200]], np.uint8).repeat(10, 0).repeat(15, 1)[None], 3, 0)
    labels, count = found_segments(planes, 1, 1)
    assert as_listed(*neighbours(labels, weigh(planes), count)) == [
        ((0, 2), 51), ((0, 1), 155), ((1, 3), 190), ((2, 3), 254)
    ]  # fmt: skip


def check_listed(labels: np.ndarray, seed: int) -> dict[Pair, int]:
    """Compare `neighbours` with a plain way to do it, with random weights; returns the expected edges."""
    height, width = labels.shape
    weights = np.random.default_rng(seed).integers(0, 255, (2, height, width)).astype(np.uint8)
    edges = [
        (int(weights[down, y, x]), 2 * (y * width + x) + down, int(labels[y, x]), int(labels[y + down, x + 1 - down]))
        for down in range(2)
        for y in range(height - down)
        for x in range(width - 1 + down)
    ]
    expected = lightest_first((a, b, weight) for weight, _, a, b in sorted(edges))
    assert as_listed(*neighbours(labels, weights, int(labels.max()) + 1)) == list(expected.items())
    return expected


@pytest.mark.parametrize(("bricks", "tall"), [(2, 2), (3, 4), (30, 40), (90, 70)])
def test_a_wall_of_bricks_has_as_many_neighbours_as_a_plane_allows(bricks: int, tall: int) -> None:
    # Each brick touches six others: on the whole nearly three pairs a brick.
    y, x = np.mgrid[: 2 * tall, : 4 * bricks]
    rows = y // 2
    labels = np.unique(rows * 10**6 + (x + 2 * (rows % 2)) // 4, return_inverse=True)[1]
    labels = labels.reshape(y.shape).astype(np.int32)
    found = check_listed(labels, 3)
    assert found.keys() == touching(labels).keys()
    count = labels.max() + 1
    assert len(found) <= 3 * count - 6
    if bricks >= 30:
        assert len(found) > 2.8 * count


def test_each_pixel_a_region_of_its_own() -> None:
    labels = np.arange(150 * 200, dtype=np.int32).reshape(150, 200)
    found = check_listed(labels, 4)
    assert len(found) == 150 * 199 + 149 * 200


def test_one_region_has_no_neighbours() -> None:
    labels = np.zeros((4, 5), np.int32)
    assert check_listed(labels, 5) == {}


def plain_coarsening(links: list[tuple[Pair, int]], size: list[int], k: float) -> list[int]:
    """The label of each region."""
    part = {r: frozenset([r]) for r in range(len(size))}
    limit = {part[r]: np.float32(k) / np.float32(size[r]) for r in part}

    for (p, q), weight in links:
        a, b = part[p], part[q]
        if a != b and weight <= min(limit[a], limit[b]):
            union = a | b
            limit[union] = np.float32(weight) + np.float32(k) / np.float32(sum(size[r] for r in union))
            part.update(dict.fromkeys(union, union))
    names: dict[frozenset[int], int] = {}
    return [names.setdefault(part[r], len(names)) for r in range(len(size))]


def check_coarsening(planes: np.ndarray, fine: tuple[float, int], scales: list[float]) -> list[int]:
    """-> how many regions there are, from the finest segmentation on"""
    labels, count = found_segments(planes, *fine)
    pairs, weights = neighbours(labels, weigh(planes), count)
    counts = [count]
    for k in scales:
        size = np.bincount(labels.ravel()).astype(np.int32)
        before = size.copy()
        names, count = coarsen(pairs, weights, size, np.float32(k))
        assert (size == before).all() and names.dtype == np.int32
        links = as_listed(pairs, weights)
        assert names.tolist() == plain_coarsening(links, size.tolist(), k)
        assert np.unique(names).tolist() == list(range(count))
        labels = names[labels]
        pairs, weights = coarse_neighbours(pairs, weights, names, count)
        expected = lightest_first((int(names[a]), int(names[b]), weight) for (a, b), weight in links)
        assert as_listed(pairs, weights) == list(expected.items())
        assert expected.keys() == touching(labels).keys()
        counts.append(count)
    return counts


@pytest.mark.parametrize("block", [1, 5])
def test_coarser_segments_are_the_plain_algorithms(noise: Callable[..., np.ndarray], block: int) -> None:
    planes = (noise(33, 47, seed=9, block=block) // 6).transpose(2, 0, 1).copy()
    counts = check_coarsening(planes, (80, 6), [400, 1000, 2500, 1e6])
    assert counts == sorted(counts, reverse=True) and len(set(counts)) > 2 and counts[-1] == 1
    counts = check_coarsening(planes, (0, 1), [0, 1e6])
    assert counts[1] > counts[2] == 1


def test_coarser_segments_of_any_small_image(pictures: Callable[..., st.SearchStrategy]) -> None:
    scale = st.sampled_from([0, 16, 80, 200, 333.3, 4000])

    @settings(deadline=None, max_examples=150, derandomize=True)
    @given(pictures(8), scale, st.lists(scale, max_size=3))
    def check(pixels: np.ndarray, k: float, scales: list[float]) -> None:
        check_coarsening(pixels.transpose(2, 0, 1).copy(), (k, 1), scales)

    check()


def test_one_region_stays_one() -> None:
    pairs, weights = np.empty((0, 2), np.int32), np.empty(0, np.uint8)
    names, count = coarsen(pairs, weights, np.array([5], np.int32), np.float32(400))
    assert names.tolist() == [0] and count == 1
    assert as_listed(*coarse_neighbours(pairs, weights, names, count)) == []
