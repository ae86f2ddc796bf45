import subprocess
import sys
from collections import Counter

import click
import numpy as np
import pytest

from benchmarks.proposals import tools as proposals_tools
from benchmarks.proposals.tools import REFERENCES, TOOLS, random_boxes
from detector.runtime.geometry.boxes import iou

PACKAGES = {"opencv-fast": "cv2", "opencv-quality": "cv2", "dlib": "dlib"}


def scene() -> np.ndarray:
    """uint8 RGB (60, 90, 3): a yellow rectangle from (20, 10) to (60, 40), and a blue one up to the corner below."""
    pixels = np.full((60, 90, 3), 30, np.uint8)
    pixels[10:40, 20:60] = (230, 220, 60)
    pixels[45:, 70:] = (40, 60, 220)
    return pixels


OBJECTS = np.array([[20, 10, 60, 40], [70, 45, 90, 60]], np.float32)


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_finds_what_is_plain_to_see(name: str) -> None:
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    tool = TOOLS[name]()
    taken = tool.prepare(scene())
    boxes = tool.boxes(tool.search(taken))
    assert boxes.dtype == np.float32 and boxes.ndim == 2 and boxes.shape[1] == 4
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] < boxes[:, 2:]).all()
    assert (boxes[:, 2:] <= [90, 60]).all()
    # Inclusive edges read as half-open, or width and height as corners, would cost more.
    assert (iou(OBJECTS, boxes).max(axis=1) > 0.85).all()
    # The corner of the image is reached: no edge is a pixel short.
    assert boxes[:, 2:].max(axis=0).tolist() == [90, 60]


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_gives_the_same_boxes_again_in_the_same_order(name: str) -> None:
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    tool = TOOLS[name]()
    first, second = (tool.boxes(tool.search(tool.prepare(scene()))) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> None:
        raise ModuleNotFoundError(module)

    monkeypatch.setattr(proposals_tools.importlib, "import_module", missing)
    with pytest.raises(click.ClickException, match=r"pip install \S*(opencv-contrib|dlib)\S*`, or leave .*" + name):
        TOOLS[name]()
    TOOLS["ours-fast"]()


def test_an_opencv_without_contributed_modules_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals_tools.importlib, "import_module", lambda _: object())
    with pytest.raises(click.ClickException, match="ximgproc"):
        TOOLS["opencv-fast"]()


def test_every_random_box_is_as_likely_as_any_other() -> None:
    boxes = random_boxes(2, 3, 36_000, seed=5)
    assert boxes.dtype == np.float32
    counts = Counter(map(tuple, boxes.tolist()))
    assert len(counts) == 3 * 6  # pairs of the 3 lines across, times pairs of the 4 lines down
    # 2,000 each on average; the standard deviation is 43.
    assert min(counts.values()) > 1800 and max(counts.values()) < 2200


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (30, 4)])
@pytest.mark.parametrize("count", [0, 1, 50])
def test_random_boxes_lie_in_the_image(height: int, width: int, count: int) -> None:
    boxes = random_boxes(height, width, count, seed=3)
    assert boxes.shape == (count, 4)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] < boxes[:, 2:]).all()
    assert (boxes[:, 2:] <= [width, height]).all()
    np.testing.assert_array_equal(boxes, random_boxes(height, width, count, seed=3))


def test_another_seed_draws_other_boxes() -> None:
    assert (random_boxes(300, 400, 50, seed=1) != random_boxes(300, 400, 50, seed=2)).any()


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_needs_no_pixels(name: str) -> None:
    boxes = REFERENCES[name].boxes(48, 64, 1)
    assert boxes.dtype == np.float32 and len(boxes) > 1000
    assert (boxes[:, 2:] <= [64, 48]).all()


def test_peers_are_not_imported_unasked() -> None:
    code = "import sys, benchmarks.proposals.__main__; sys.exit(bool({'cv2', 'dlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
