"""What a random change does to the pixels, it does to the boxes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.annotations import CocoDataset
from detector.model.augmentations import AnnotatedImage, draw_scale, view
from detector.model.training_images import TrainingImages
from detector.proposals.store import Proposals
from detector.runtime.images import MEAN
from tests.support.datasets import image_info

BOX = [20.0, 6, 44, 30]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    picture = Image.new("RGB", (96, 64), (0, 60, 0))
    picture.paste((255, 60, 0), tuple(map(int, BOX)))
    picture.save(tmp_path / "1.png")
    return tmp_path


def examples(folder: Path, *names: str, count: int = 24) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """(pixels 0..255, truth, proposals, ignore) of one image in several epochs."""
    truth = CocoDataset(("cat",), (image_info(1, [BOX], size=(96, 64), file_name="1.png"),))
    proposals = Proposals(np.array([BOX, [0, 0, 96, 64]], np.float32), np.array([0, 2]))
    images = TrainingImages(folder, truth, proposals, 9, 5, names)
    found = [images[0, 96, epoch] for epoch in range(count)]
    return [
        (
            own.image.numpy().transpose(1, 2, 0) * 128 + float(MEAN),
            own.truth.numpy(),
            own.proposals.numpy(),
            own.ignore.numpy(),
        )
        for own in found
    ]


def extent(pixels: np.ndarray) -> list[int]:
    """The red object's edges, xyxy."""
    rows, columns = np.nonzero(pixels[..., 0] > 200)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("names", [(), ("flip",), ("flip_vertical",), ("flip", "flip_vertical", "scale")])
def test_boxes_and_proposals_stay_on_the_object(folder: Path, names: tuple[str, ...]) -> None:
    seen = set()
    for pixels, truth, proposals, ignore in examples(folder, *names):
        assert pixels.shape == (64, 96, 3)
        if len(truth) and not ignore.any():
            assert truth[0] == pytest.approx(extent(pixels), abs=1.6)  # an edge is blurred when it is resized
            assert proposals[0] == pytest.approx(truth[0], abs=1e-3)
            seen.add(tuple(truth[0].round().tolist()))
    assert (len(seen) == 1) == (not names) and (len(seen) > 8) == ("scale" in names)


def test_scale_shows_the_object_larger_and_smaller_and_marks_what_is_cut(folder: Path) -> None:
    found = examples(folder, "scale", count=80)
    sides = [truth[0, 2] - truth[0, 0] for _, truth, _, ignore in found if len(truth) and not ignore.any()]
    assert min(sides) < 14 and max(sides) > 34  # 24 pixels at their own size
    assert any(ignore.any() for *_, ignore in found)


def test_colour_changes_pixels_only(folder: Path) -> None:
    plain, *changed = examples(folder)[:1] + examples(folder, "colour", count=8)
    assert len({own[0].tobytes() for own in changed}) == 8
    for pixels, truth, _, _ in changed:
        assert truth.tolist() == plain[1].tolist()
        assert pixels.min() >= 0 and pixels.max() <= 255


def pictured(height: int, width: int, boxes: list[list[float]]) -> AnnotatedImage:
    none = np.zeros(len(boxes), bool)
    truth = np.array(boxes, np.float32).reshape(-1, 4)
    pixels = np.zeros((height, width, 3), np.uint8)
    return AnnotatedImage(pixels, truth, np.arange(len(boxes)), none, none, truth)


def test_a_view_drops_what_lies_outside_and_ignores_what_is_mostly_outside() -> None:
    image = pictured(10, 40, [[0, 0, 10, 10], [0, 0, 40, 10], [30, 0, 40, 10]])
    for seed in range(20):
        seen = view(image, 10, 12, np.random.default_rng(seed))
        assert seen.pixels.shape == (10, 12, 3)
        for label, box, ignore in zip(seen.labels, seen.truth, seen.ignore, strict=True):
            whole = image.truth[label]
            share = (box[2] - box[0]) / (whole[2] - whole[0])
            assert 0 < share <= 1 and ignore == (share < 0.5)
        assert 1 in seen.labels and len(seen.proposals) == len(seen.truth)


def test_an_empty_image_and_a_smaller_one_are_placed_on_the_mean_colour() -> None:
    seen = view(pictured(4, 6, []), 10, 12, np.random.default_rng(1))
    assert (seen.pixels == int(MEAN)).all(axis=2).sum() == 10 * 12 - 4 * 6
    assert seen.truth.shape == seen.proposals.shape == (0, 4)


def test_factors_are_even_in_their_logarithm() -> None:
    random = np.random.default_rng(0)
    factors = np.array([draw_scale(("scale",), random) for _ in range(2000)])
    assert factors.min() >= 0.5 and factors.max() <= 2.0
    assert np.mean(factors < 1) == pytest.approx(0.5, abs=0.05)
    assert draw_scale(("flip",), random) == 1.0
