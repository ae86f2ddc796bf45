import numpy as np
import pytest

from detector.data.generated import _SHAPES, GENERATED_CLASSES, Scene, draw_scene
from detector.runtime.geometry.boxes import area

COUNT = 60


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(7, index) for index in range(COUNT)]


def test_the_same_numbers_give_the_same_scene_and_others_do_not() -> None:
    first, again = draw_scene(3, 5), draw_scene(3, 5)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    for other in (draw_scene(3, 6), draw_scene(4, 5)):
        assert other.pixels.shape != first.pixels.shape or (other.pixels != first.pixels).any()


def test_types_and_sizes(scenes: list[Scene]) -> None:
    assert any(scene.pixels.shape[0] != scene.pixels.shape[1] for scene in scenes)
    for scene in scenes:
        height, width, channels = scene.pixels.shape
        assert 240 <= height <= 340 and 240 <= width <= 340 and channels == 3
        assert scene.pixels.dtype == np.uint8
        assert scene.boxes.dtype == np.float32 and scene.boxes.shape == (len(scene.labels), 4)
        assert scene.labels.dtype == np.int64 and scene.ignore.dtype == np.bool_
        assert len(scene.ignore) == len(scene.labels)
        assert (scene.boxes >= 0).all() and (scene.boxes <= [width, height, width, height]).all()
        assert (area(scene.boxes) >= 1).all()


def test_every_class_occurs_and_so_do_the_hard_cases(scenes: list[Scene]) -> None:
    labels = np.concatenate([scene.labels for scene in scenes])
    assert set(labels) == set(range(len(GENERATED_CLASSES)))
    assert len(GENERATED_CLASSES) == len(_SHAPES) >= 8
    assert any(len(scene.labels) == 0 for scene in scenes)
    assert any(scene.ignore.any() for scene in scenes)
    assert np.mean(np.concatenate([scene.ignore for scene in scenes])) < 0.1
    touching = [
        (box[:2] == 0).any() or box[2] == scene.pixels.shape[1] or box[3] == scene.pixels.shape[0]
        for scene in scenes
        for box in scene.boxes
    ]
    assert 0.05 < np.mean(touching) < 0.5
    sides = np.concatenate([scene.boxes[:, 2:] - scene.boxes[:, :2] for scene in scenes]).max(axis=1)
    assert np.percentile(sides, 10) < 35 and np.percentile(sides, 90) > 75


def test_outlines_fill_their_unit_circle_and_stay_inside_it() -> None:
    for name, shape in zip(GENERATED_CLASSES, _SHAPES, strict=True):
        assert shape.__name__ == f"_{name}"
        for seed in range(20):
            drawn = shape(np.random.default_rng(seed))
            reach = np.linalg.norm(drawn.outline, axis=1).max()
            # A box around the patch has two pixels to spare at the smallest radius, 13.
            assert 0.8 < reach <= 1.17, name
            for inner in drawn.holes + drawn.details:
                assert np.linalg.norm(inner, axis=1).max() < reach


def test_boxes_are_tight_around_what_differs_from_the_same_scene_without_the_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An object painted pure white on a darkened scene must fill its box to every edge."""
    from detector.data import generated

    original = generated._object

    def white(*arguments):
        thing = original(*arguments)
        return generated._Object(
            thing.left, thing.top, thing.label, thing.coverage, np.full_like(thing.colours, 255), thing.shadow * 0
        )

    monkeypatch.setattr(generated, "_object", white)
    monkeypatch.setattr(generated, "_ground", lambda rng, height, width: np.zeros((height, width, 3), np.float32))
    monkeypatch.setattr(generated, "_clutter", lambda rng, canvas, strokes: np.zeros(canvas.shape[:2], np.bool_))
    monkeypatch.setattr(generated, "_finish", lambda rng, canvas: canvas.astype(np.uint8))
    checked = 0
    for index in range(30):
        scene = draw_scene(1, index)
        shown = scene.pixels[..., 0] >= 127
        if len(scene.boxes) == 1:
            rows, columns = np.nonzero(shown)
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_array_equal(scene.boxes[0], box)
            checked += 1
        outside = shown.copy()
        for x1, y1, x2, y2 in scene.boxes.astype(int):
            outside[y1:y2, x1:x2] = False
        assert not outside.any()
    assert checked >= 2
