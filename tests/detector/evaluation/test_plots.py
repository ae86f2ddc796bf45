import numpy as np
import pytest
from PIL import ImageColor

from detector.common.drawing import TRUTH_COLOUR
from detector.evaluation.average_precision import evaluate_voc
from detector.evaluation.detections import no_detections
from detector.evaluation.plots import Example, draw_grid, precision_recall_rows


def test_curves_are_thinned_and_keep_their_ends(make) -> None:
    truth = make.dataset(make.image(1, [(0, 0, 0, 100, 50), (1, 0, 0, 9, 9)]), classes=("cat", "dog", "cow"))
    rows = [(1 - i / 1000, 0, 0, 0, 100, 50 + i % 7) for i in range(900)] + [(0.5, 2, 0, 0, 5, 5)]
    results = evaluate_voc(truth, {1: make.found(rows)}, (0.5,)).by_iou[0.5]
    points = precision_recall_rows(results)
    assert len(points) == 2  # recall is 1 from the first detection on: the ends say all
    assert {row["label"] for row in points} == {"cat"}  # dogs were not found, cows do not exist
    assert points[0] == {"label": "cat", "recall": 1.0, "precision": 1.0}
    assert points[-1] == {"label": "cat", "recall": 1.0, "precision": round(1 / 900, 5)}
    assert precision_recall_rows([]) == []


def test_curves_are_thinned_evenly_over_recall(make) -> None:
    truth = make.dataset(make.image(1, [(0, 20 * i, 0, 20 * i + 10, 10) for i in range(100)]), classes=("cat",))
    rows = [(1 - i / 1000, 0, 20 * i, 0, 20 * i + 10, 10) for i in range(100)]
    results = evaluate_voc(truth, {1: make.found(rows)}, (0.5,)).by_iou[0.5]
    recalls = [row["recall"] for row in precision_recall_rows(results, points=11)]
    assert recalls == pytest.approx([0.01, 0.12, 0.23, 0.34, 0.45, 0.56, 0.67, 0.78, 0.89, 1.0], abs=0.011)


def example(make, width: int, height: int, truths, found) -> Example:
    return Example(np.zeros((height, width, 3), np.uint8), make.image(1, truths, width, height), found)


def test_the_grid_shows_truths_and_detections_at_their_places(make) -> None:
    wide = example(make, 360, 180, [(0, 100, 50, 200, 150)], make.found([(0.9, 1, 220, 100, 320, 160)]))
    blank = example(make, 100, 200, [], no_detections())
    grid = draw_grid([wide, blank, blank], ("cat", "dog"), columns=2, cell=360, gap=8)
    assert grid.size == (2 * 368 + 8, 2 * 368 + 8)
    pixels = np.asarray(grid)
    top, left = 8 + 90, 8  # the wide image is centred in its cell
    assert tuple(pixels[top + 149, left + 150]) == ImageColor.getrgb(TRUTH_COLOUR)
    assert tuple(pixels[top + 120, left + 220]) == ImageColor.getrgb("#56B4E9")
    assert tuple(pixels[top + 100, left + 150]) == (0, 0, 0)  # inside the truth


def test_small_images_are_enlarged_with_their_boxes(make) -> None:
    small = example(make, 60, 90, [(0, 20, 30, 40, 60)], no_detections())
    pixels = np.asarray(draw_grid([small], ("cat",), cell=180, gap=0))
    assert pixels.shape == (180, 180, 3)
    assert tuple(pixels[119, 30 + 60]) == (255, 255, 255)


def test_a_grid_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        draw_grid([], ("cat",))
