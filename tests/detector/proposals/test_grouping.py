"""Against the paper's algorithm 1 on sets of pixels: nothing is propagated, every similarity is taken from scratch."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.proposals.grouping import group
from detector.proposals.regions import describe, neighbours, texture_codes

EVERY = (True, True, True, True)
STRATEGIES = [EVERY, (True, False, False, False), (False, True, False, False), (False, False, True, False),
              (False, False, False, True), (True, False, True, True)]  # fmt: skip


def parts(labels: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, ...]:
    regions = int(labels.max()) + 1
    return (*describe(labels, regions, pixels, texture_codes(pixels)), neighbours(labels, regions))


def found_boxes(labels: np.ndarray, pixels: np.ndarray, use: tuple[bool, ...]) -> np.ndarray:
    return group(*parts(labels, pixels), np.float32(labels.size), np.array(use))


def similarity(a: np.ndarray, b: np.ndarray, pixels: np.ndarray, codes: np.ndarray, use: tuple[bool, ...]) -> float:
    """a, b: masks (H, W). The sum of the paper's four measures that `use` names."""

    def colour(mask: np.ndarray) -> np.ndarray:
        counts = [np.bincount(pixels[mask][:, c].astype(int) * 25 // 256, minlength=25) for c in range(3)]
        return np.concatenate(counts) / (3 * mask.sum())

    def texture(mask: np.ndarray) -> np.ndarray:
        return np.bincount(codes[mask], minlength=48) / mask.sum()

    ys, xs = np.nonzero(a | b)
    around = (np.ptp(ys) + 1) * (np.ptp(xs) + 1)
    both = a.sum() + b.sum()
    measures = (
        np.minimum(colour(a), colour(b)).sum(),
        np.minimum(texture(a), texture(b)).sum(),
        1 - both / a.size,
        1 - (around - both) / a.size,
    )
    return float(sum(measure for measure, on in zip(measures, use, strict=True) if on))


def plain_merges(labels: np.ndarray, pixels: np.ndarray, use: tuple[bool, ...]) -> list[tuple[np.ndarray, float]]:
    """(mask of each new region, how far its similarity lay above the next best pair's) in the order of merging."""
    codes = texture_codes(pixels)
    masks = [labels == r for r in range(labels.max() + 1)]
    merges = []
    while len(masks) > 1:
        pairs = []
        for i in range(len(masks)):
            grown = np.zeros_like(masks[i])
            grown[1:] |= masks[i][:-1]
            grown[:-1] |= masks[i][1:]
            grown[:, 1:] |= masks[i][:, :-1]
            grown[:, :-1] |= masks[i][:, 1:]
            pairs += [(i, j) for j in range(i + 1, len(masks)) if (grown & masks[j]).any()]
        scores = [similarity(masks[i], masks[j], pixels, codes, use) for i, j in pairs]
        order = np.argsort(scores)[::-1]
        lead = scores[order[0]] - scores[order[1]] if len(order) > 1 else np.inf
        i, j = pairs[order[0]]
        union = masks[i] | masks[j]
        merges.append((union, lead))
        masks = [mask for r, mask in enumerate(masks) if r not in (i, j)] + [union]
    return merges


def box_of(mask: np.ndarray) -> list[int]:
    ys, xs = np.nonzero(mask)
    return [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]


def tiles(height: int, width: int, down: int, across: int) -> np.ndarray:
    """Labels (H, W): an uneven grid of down x across regions."""
    rows = np.minimum((np.arange(height) / height) ** 1.3 * down, down - 1).astype(np.int32)
    columns = np.minimum((np.arange(width) / width) ** 0.8 * across, across - 1).astype(np.int32)
    names = np.unique(rows[:, None] * across + columns[None], return_inverse=True)[1]
    return names.reshape(height, width).astype(np.int32)


def cells(height: int, width: int, count: int) -> np.ndarray:
    """Labels (H, W): `count` cells of irregular outline, so that no two pairs are equally similar for long."""
    centres = np.random.default_rng(5).uniform(0, (height, width), (count, 2))
    places = np.stack(np.mgrid[:height, :width], axis=-1)
    return np.linalg.norm(places[:, :, None] - centres, axis=3).argmin(axis=2).astype(np.int32)


@pytest.mark.parametrize("use", STRATEGIES)
def test_merges_are_those_of_the_plain_algorithm(noise: Callable[..., np.ndarray], use: tuple[bool, ...]) -> None:
    labels = cells(24, 37, 16)
    shades = np.random.default_rng(6).integers(40, 256, 16)
    pixels = (noise(24, 37, seed=3) / 255 * shades[labels][:, :, None]).astype(np.uint8)
    boxes = found_boxes(labels, pixels, use)
    regions = labels.max() + 1
    assert boxes.shape == (2 * regions - 1, 4)
    assert boxes[:regions].tolist() == [box_of(labels == r) for r in range(regions)]
    compared = 0
    for box, (mask, lead) in zip(boxes[regions:].tolist(), plain_merges(labels, pixels, use), strict=True):
        if lead < 1e-5:
            break  # a tie: float32 may choose the other pair
        assert box == box_of(mask)
        compared += 1
    assert compared >= 5


def test_the_last_region_is_the_whole_picture(noise: Callable[..., np.ndarray]) -> None:
    for use in STRATEGIES:
        assert found_boxes(tiles(24, 37, 4, 5), noise(24, 37), use)[-1].tolist() == [0, 0, 37, 24]


def test_one_region_is_its_own_group(noise: Callable[..., np.ndarray]) -> None:
    assert found_boxes(np.zeros((6, 9), np.int32), noise(6, 9), EVERY).tolist() == [[0, 0, 9, 6]]


def test_like_colours_are_joined_first() -> None:
    labels = np.repeat(np.arange(4, dtype=np.int32), 10)[None].repeat(8, 0)  # four stripes in a row
    pixels = np.zeros((8, 40, 3), np.uint8)
    pixels[:, :20], pixels[:, 20:] = (200, 30, 30), (30, 30, 200)
    boxes = found_boxes(labels, pixels, (True, False, False, False))
    assert sorted(boxes[4:6].tolist()) == [[0, 0, 20, 8], [20, 0, 40, 8]]


def test_equal_similarities_take_the_first_pair() -> None:
    labels = np.repeat(np.arange(5, dtype=np.int32), 8)[None].repeat(4, 0)
    boxes = found_boxes(labels, np.full((4, 40, 3), 90, np.uint8), (True, True, False, False))
    assert boxes[5].tolist() == [0, 0, 16, 4]


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4), st.integers(1, 4), st.sampled_from(STRATEGIES))
def test_every_new_box_holds_two_that_were_not_yet_joined(
    height: int, width: int, down: int, across: int, use: tuple[bool, ...]
) -> None:
    labels = tiles(height, width, down, across)
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3)).astype(np.uint8)
    boxes = found_boxes(labels, pixels, use).tolist()
    regions = int(labels.max()) + 1
    assert len(boxes) == 2 * regions - 1 and boxes[-1] == [0, 0, width, height]
    free = boxes[:regions]
    for box in boxes[regions:]:
        joined = next(
            (a, b)
            for i, a in enumerate(free)
            for b in free[i + 1 :]
            if [min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])] == box
        )
        for one in joined:
            free.remove(one)
        free.append(box)
    assert free == [[0, 0, width, height]]
