import tracemalloc

import numpy as np
import pytest
from skimage import data

from detector.runtime.resizing import resize_to

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: the extra dev has it")

METHODS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}
PHOTOGRAPH = data.astronaut()[:301, :450]  # a width and a height that nothing divides
SIZES = [
    (150, 225), (100, 150), (157, 211), (17, 23), (1, 1),  # smaller, by whole numbers and others
    (602, 900), (352, 451), (700, 1333),  # larger
    (416, 416), (150, 640), (640, 150), (301, 225), (602, 450), (1, 900), (301, 1),  # both, or one side only
]  # fmt: skip


def largest_difference(pixels: np.ndarray, height: int, width: int, method: str) -> int:
    ours = resize_to(pixels, height, width, method)
    theirs = cv2.resize(pixels, (width, height), interpolation=METHODS[method]).reshape(height, width, 3)
    assert ours.shape == theirs.shape and ours.dtype == np.uint8
    return int(np.abs(ours.astype(int) - theirs).max())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_photograph_becomes_the_one_of_opencv(method: str, height: int, width: int) -> None:
    assert largest_difference(PHOTOGRAPH, height, width, method) <= 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 3), (5, 4), (3, 90)])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (3, 8), (13, 5), (64, 64)])
def test_tiny_images_become_those_of_opencv(method: str, shape: tuple[int, int], height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    assert largest_difference(pixels, height, width, method) <= 1


@pytest.mark.parametrize("method", METHODS)
def test_many_sizes_of_noise_become_those_of_opencv(method: str) -> None:
    random = np.random.default_rng(1)
    for _ in range(150):
        height, width, new_height, new_width = random.integers(1, 130, 4)
        pixels = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        difference = largest_difference(pixels, int(new_height), int(new_width), method)
        assert difference <= 1, (height, width, new_height, new_width)


@pytest.mark.parametrize("method", [*METHODS, "bilinear", "bicubic"])
def test_an_image_of_the_right_size_is_not_changed(method: str) -> None:
    assert resize_to(PHOTOGRAPH, 301, 450, method) is PHOTOGRAPH


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(3000, 1500), (1500, 3000), (40, 100_000), (100_000, 40)])
def test_a_large_image_needs_no_copy_of_itself(method: str, shape: tuple[int, int]) -> None:
    """Decoded images are most of the job's memory, and a copy in float32 would be four times as large."""
    pixels = np.zeros((*shape, 3), np.uint8)
    tracemalloc.start()
    resize_to(pixels, 416, 416, method)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < pixels.nbytes
