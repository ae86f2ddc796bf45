import subprocess
import sys

import numpy as np
from PIL import Image, ImageColor

from detector.common.drawing import PALETTE, draw_boxes, draw_detections
from detector.runtime.geometry.boxes import empty

BLACK = np.zeros((120, 200, 3), np.uint8)


def test_a_detection_is_outlined_inside_its_half_open_edges_and_labelled() -> None:
    boxes = np.array([[40, 50, 90, 100]], np.float32)
    image = draw_detections(BLACK, boxes, np.array([1]), np.array([0.9312]), ("cat", "dog"))
    pixels = np.asarray(image)
    colour = ImageColor.getrgb(PALETTE[1])
    assert pixels.shape == BLACK.shape
    for y, x in ((99, 60), (75, 40), (75, 89), (99, 89)):
        assert tuple(pixels[y, x]) == colour
    for y, x in ((100, 60), (75, 39), (75, 90), (75, 60)):
        assert tuple(pixels[y, x]) == (0, 0, 0)
    assert (pixels[36:49, 41:80] == colour).all(axis=2).mean() > 0.3  # the plate above the box
    assert not BLACK.any()


def test_plates_stay_inside_the_image_and_degenerate_boxes_draw() -> None:
    boxes = np.array([[0, 0, 200, 120], [195, 115, 195, 115], [-20, -20, 5, 5]], np.float32)
    image = Image.fromarray(BLACK)
    draw_boxes(image, boxes, ["aeroplane 0.99", "tvmonitor 0.50", ""], ["#D55E00", "#56B4E9", "#009E73"])
    pixels = np.asarray(image)
    assert (pixels[100:, 100:] == ImageColor.getrgb("#56B4E9")).all(axis=2).sum() > 200
    assert (pixels[:16, :80] == ImageColor.getrgb("#D55E00")).all(axis=2).sum() > 200


def test_the_best_detection_lies_on_top() -> None:
    boxes = np.array([[40, 50, 90, 100]] * 2, np.float32)
    image = draw_detections(BLACK, boxes, np.array([0, 1]), np.array([0.9, 0.3]), ("cat", "dog"))
    assert image.getpixel((40, 75)) == ImageColor.getrgb(PALETTE[0])


def test_no_detections_leave_the_image_as_it_was() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
    image = draw_detections(noise, empty(), np.zeros(0, np.int64), np.zeros(0), ())
    np.testing.assert_array_equal(np.asarray(image), noise)


def test_neither_torch_nor_matplotlib_is_imported() -> None:
    code = "import sys, detector.common.drawing; sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
