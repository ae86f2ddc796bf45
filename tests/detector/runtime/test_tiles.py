"""A detector around a detector: what it looks at, and what becomes of boxes that several looks found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.runtime.artifact import load_artifact
from detector.runtime.detector import Batch, Image, open_detector
from detector.runtime.devices import Device
from detector.runtime.geometry.boxes import iou
from detector.runtime.geometry.nms import nms
from detector.runtime.postprocess import Detections
from detector.runtime.reading import Reading
from detector.runtime.tiles import TiledDetector
from detector.runtime.tiling import Tiling
from tests.support.detecting import detect
from tests.support.graphs import Row, assert_found

NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0), np.zeros(0, np.int64))


def detections(rows: Sequence[Row]) -> Detections:
    """Rows as a detector gives them: best score first."""
    rows = sorted(rows, key=lambda row: -row[1])
    boxes = np.array([row[2:] for row in rows], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array([row[1] for row in rows]), np.array([row[0] for row in rows], np.int64))


class Seer:
    """Sees each value above 0 in a view as an object, in all of its pixels, unless it is narrow for the view.

    What the view cuts has the highest score. The label is the value's last digit. `sizes` has the views' sizes.
    """

    classes = tuple("abcdefghij")
    device = Device("cpu")

    def __init__(self, batch: int = 1) -> None:
        self.batch = batch
        self.sizes: list[tuple[int, ...]] = []
        self.most_at_once = 0
        self.min_scores: set[float | None] = set()

    def reading(self, height: int, width: int) -> Reading:
        return Reading(height // 2, width // 2, "linear")

    def detect(self, images: Sequence[Image], *, min_score: float | None = None) -> Batch:
        self.most_at_once = max(self.most_at_once, len(images))
        self.min_scores.add(min_score)
        return Batch([self._one(image) for image in images], {"network": 1.0 * len(images)})

    def _one(self, image: Image) -> Detections:
        assert image.pixels.flags.c_contiguous and image.pixels.shape[:2] == (image.height, image.width)
        self.sizes.append((image.height, image.width))
        values = image.pixels[..., 0]
        rows: list[Row] = []
        for value in np.unique(values[values > 0]):
            y, x = np.nonzero(values == value)
            box = (x.min(), y.min(), x.max() + 1, y.max() + 1)
            if max(box[2] - box[0], box[3] - box[1]) * 20 < max(values.shape):
                continue
            is_cut = box[0] == 0 or box[1] == 0 or box[2] == image.width or box[3] == image.height
            rows.append((int(value) % 10, 0.9 if is_cut else 0.5, *map(float, box)))  # type: ignore[arg-type]
        return detections(rows)


class Scripted(Seer):
    """Returns the detections that the test gives for each look, in order."""

    def __init__(self, looks: Sequence[Sequence[Row]]) -> None:
        super().__init__()
        self._looks = iter(looks)

    def _one(self, image: Image) -> Detections:
        return detections(next(self._looks))


def tiled(inner: Seer, side: int, overlap: float = 0.2, most: int = 100, most_overlap: float = 1.0) -> TiledDetector:
    return TiledDetector(inner, Tiling(side, overlap), most_overlap=most_overlap, max_detections=most)


def scene(height: int, width: int, objects: dict[int, tuple[int, int, int, int]]) -> np.ndarray:
    """Black pixels with objects of a value each, at (x1, y1, x2, y2)."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for value, (x1, y1, x2, y2) in objects.items():
        pixels[y1:y2, x1:x2] = value
    return pixels


def test_small_and_large_objects_are_found_once_and_whole() -> None:
    """Although pieces that tiles cut off have higher scores."""
    objects = {11: (210, 40, 220, 52), 21: (172, 110, 188, 120), 32: (30, 90, 480, 290), 41: (0, 0, 9, 9)}
    inner = Seer()
    found = detect(tiled(inner, 100), scene(300, 500, {32: objects[32]} | objects))
    expected = {11: (1, 0.5), 21: (1, 0.5), 32: (2, 0.5), 41: (1, 0.9)}  # the last one is cut by the image itself
    assert_found(found, [(*expected[value], *map(float, box)) for value, box in objects.items()], pixels=0)
    assert inner.sizes[0] == (300, 500) and set(inner.sizes[1:]) == {(100, 100)}


def test_of_an_object_that_no_look_sees_whole_pieces_stay() -> None:
    """Those at 50 and 150 share half of the smaller box with another piece."""
    inner = Seer()
    inner._one = lambda image: NOTHING if image.width > 100 else Seer._one(inner, image)  # type: ignore[method-assign]
    found = detect(tiled(inner, 100, 0.5), scene(100, 300, {1: (40, 40, 160, 50)}))
    assert found.scores.tolist() == [0.9, 0.9] and found.boxes.tolist() == [[40, 40, 100, 50], [100, 40, 160, 50]]


def test_an_image_that_is_not_larger_is_the_inner_detectors_own() -> None:
    inner = Seer()
    outer = tiled(inner, 300)
    assert outer.reading(300, 200) == inner.reading(300, 200) and outer.reading(301, 2) == Reading(301, 2, None)
    pixels = scene(300, 200, {1: (0, 0, 100, 90), 2: (30, 100, 90, 120)})
    assert np.array_equal(detect(outer, pixels).boxes, inner._one(Image.whole(pixels)).boxes)
    assert inner.sizes == [(300, 200)] * 2
    assert (outer.classes, outer.device, outer.batch) == (inner.classes, inner.device, 1)


def test_tiles_go_together_as_the_graph_takes_them_and_that_changes_nothing() -> None:
    pixels = scene(
        300, 500, {value: (20 * value, 7 * value, 20 * value + 15, 7 * value + 12) for value in range(1, 22)}
    )
    alone, four = Seer(), Seer(batch=4)
    images = [Image.whole(np.ascontiguousarray(part)) for part in (pixels, pixels[:90, :90], pixels[::-1])]
    first = tiled(alone, 100).detect(images, min_score=0.25)
    second = tiled(four, 100).detect(images, min_score=0.25)
    for one, other in zip(first.detections, second.detections, strict=True):
        assert len(one.scores) and all(
            np.array_equal(getattr(one, name), getattr(other, name)) for name in ("boxes", "scores", "labels")
        )
    assert (alone.most_at_once, four.most_at_once) == (1, 4) and alone.min_scores == four.min_scores == {0.25}
    looks = 2 * Tiling(100, 0.2).looks(300, 500) + 1
    assert first.seconds == {"network": looks} and len(alone.sizes) == looks


def test_boxes_of_one_look_and_of_other_labels_stay() -> None:
    """Of 100 x 100 in 150 x 100: two tiles, at 0 and at 50."""
    looks: list[list[Row]] = [
        [(1, 0.8, 10, 10, 40, 40), (1, 0.7, 12, 12, 38, 38)],  # the inner detector has kept both
        [(1, 0.6, 11, 11, 41, 41), (2, 0.5, 10, 10, 40, 40)],  # the first is that of the whole image again
        [(1, 0.4, 20, 60, 30, 70)],
    ]
    found = detect(tiled(Scripted(looks), 100, 0.5), np.zeros((100, 150, 3), np.uint8))
    assert_found(
        found,
        [(1, 0.8, 10, 10, 40, 40), (1, 0.7, 12, 12, 38, 38), (2, 0.5, 10, 10, 40, 40), (1, 0.4, 70, 60, 80, 70)],
        pixels=0, score=0,
    )  # fmt: skip


def test_a_piece_goes_only_for_a_whole_box_that_covers_most_of_it() -> None:
    """The piece ends at the inner edge of the first tile, x = 100; what covers it lies in the whole image."""
    piece: Row = (1, 0.9, 60, 20, 100, 60)

    def kept(whole: Row, own: Row = piece) -> bool:
        looks: list[list[Row]] = [[whole], [own], []]
        found = detect(tiled(Scripted(looks), 100, 0.5), np.zeros((100, 150, 3), np.uint8))
        return 0.9 in found.scores.tolist()

    assert not kept((1, 0.3, 60, 20, 140, 60))
    assert not kept((1, 0.3, 68, 20, 140, 60))  # .8 of it
    assert kept((1, 0.3, 69, 20, 140, 60))
    assert kept((2, 0.3, 60, 20, 140, 60))  # another label
    assert kept((1, 0.3, 60, 20, 140, 60), (1, 0.9, 58, 20, 98, 60))  # it ends before the edge
    assert kept((1, 0.3, 0, 0, 150, 100), (1, 0.9, 0, 20, 60, 60))  # at the edge of the image


def test_equal_scores_keep_the_order_of_the_looks_and_the_best_are_kept() -> None:
    looks: list[list[Row]] = [[(1, 0.5, 10, 10, 20, 20)], [(2, 0.5, 50, 10, 60, 20)], [(3, 0.6, 20, 60, 30, 70)]]
    found = detect(tiled(Scripted(looks), 100, 0.5, most=2), np.zeros((100, 150, 3), np.uint8))
    assert found.labels.tolist() == [3, 1]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.45, 1.0]))
def test_what_is_kept_is_what_suppression_would_leave(seed: int, most_overlap: float) -> None:
    """So that the rules about overlaps and numbers of boxes hold, whatever the looks have found."""
    random = np.random.default_rng(seed)

    def look() -> list[Row]:
        corners = random.integers(0, 60, (30, 2))
        sides = random.integers(1, 640, (30, 2)) / 16
        return [
            (int(label), float(score), *map(float, [*corner, *(corner + side)]))  # type: ignore[misc]
            for label, score, corner, side in zip(
                random.integers(0, 2, 30), random.random(30).round(4), corners, sides, strict=True
            )
        ]

    def chosen(rows: list[Row]) -> list[Row]:
        own = detections(rows)
        return [sorted(rows, key=lambda row: -row[1])[i] for i in nms(own.boxes, own.scores, own.labels, most_overlap)]

    inner = Scripted([chosen(look()) for _ in range(3)])
    found = detect(tiled(inner, 100, 0.5, most=20, most_overlap=most_overlap), np.zeros((100, 150, 3), np.uint8))
    assert 1 <= len(found.scores) <= 20 and (np.diff(found.scores) <= 0).all()
    assert (found.boxes * 16 % 1 == 0).all()
    overlaps = iou(found.boxes, found.boxes) * (found.labels[:, None] == found.labels)
    assert (overlaps[~np.eye(len(overlaps), dtype=bool)] <= most_overlap + 1e-6).all()


def test_nothing_found_is_no_boxes() -> None:
    found = detect(tiled(Seer(), 64), scene(200, 300, {}))
    assert found.boxes.shape == (0, 4) and found.scores.shape == found.labels.shape == (0,)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(64, 300), st.floats(0, 0.5))
def test_tiles_cover_the_image_and_overlap(height: int, width: int, side: int, overlap: float) -> None:
    tiling = Tiling(side, overlap)
    places = np.array(tiling.places(height, width))
    seen = np.zeros((height, width), bool)
    for left, top, right, bottom in places:
        assert (right - left, bottom - top) == (min(side, width), min(side, height))
        seen[top:bottom, left:right] = True
    assert seen.all() and len(np.unique(places, axis=0)) == len(places)
    for first, last in ((0, 2), (1, 3)):  # along both axes, the next tile begins early enough
        starts, ends = np.unique(places[:, first]), np.unique(places[:, last])
        assert (ends[:-1] - starts[1:] >= int(side * overlap)).all()
    assert tiling.looks(height, width) == (len(places) + 1 if max(height, width) > side else 1)


@pytest.mark.parametrize("proposals", [False, True])
def test_real_artifacts_look_at_tiles(make_artifact: Callable[..., Path], tmp_path: Path, proposals: bool) -> None:
    """Also one that searches for its proposals: in each tile."""
    folder = make_artifact(tmp_path / "model", proposals=proposals)
    blocks = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    pixels = blocks.repeat(8, 0).repeat(8, 1)
    outer, inner = open_detector(folder, tiling=Tiling(96, 0.25)), open_detector(folder)
    small = np.ascontiguousarray(pixels[:80, :96])
    alone, same = detect(inner, small, 0.0), detect(outer, small, 0.0)
    assert np.array_equal(alone.boxes, same.boxes) and np.array_equal(alone.scores, same.scores)
    whole, found = detect(inner, pixels, 0.0), detect(outer, pixels, 0.0)
    assert len(whole.scores) <= len(found.scores) <= load_artifact(folder).max_detections
    assert (found.boxes[:, :2] >= 0).all() and (found.boxes[:, 2:] <= [240, 160]).all()
    assert found.boxes[:, 2].max() > 200 and found.boxes[:, 3].max() > 100  # tiles far from the corner too
    assert outer.reading(160, 240) == Reading(160, 240, None)
