import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numba
import numpy as np
import pytest
from PIL import Image

from benchmarks.proposals.growth import (
    PHOTOGRAPHS,
    SQUARES,
    STRIPS,
    Cost,
    MadeImage,
    made_images,
    measure_all,
    noise,
    one_colour,
    peak_memory,
    scenes,
    table,
)
from benchmarks.proposals.growth_chart import draw

linux = pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="reads Linux's /proc")
MIB = 2**20


@pytest.mark.parametrize("size", [(1, 1), (8, 6), (300, 2), (2, 300), (130, 95)])
@pytest.mark.parametrize("make", [noise, one_colour, scenes])
def test_images_have_the_size_asked_for(make, size: tuple[int, int]) -> None:
    pixels = make(*size)
    assert pixels.dtype == np.uint8 and pixels.shape == (size[1], size[0], 3)
    np.testing.assert_array_equal(pixels, make(*size))


def test_noise_in_squares() -> None:
    pixels = noise(10, 7, block=4)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) == 3 * 2
    assert (pixels[:4, 4:8] == pixels[0, 4]).all()


def test_a_strip_is_several_scenes() -> None:
    strip = scenes(800, 200)
    assert (scenes(200, 800).shape, strip.shape) == ((800, 200, 3), (200, 800, 3))
    quarters = [strip[:, i * 200 : (i + 1) * 200].mean(axis=(0, 1)) for i in range(4)]
    assert len(np.unique(np.rint(quarters), axis=0)) == 4


def test_every_kind_in_every_size() -> None:
    wanted = made_images()
    for kind in ("noise", "scenes", "one colour"):
        assert {(p.width, p.height) for p in wanted if p.kind == kind} == {*PHOTOGRAPHS, *STRIPS}
    assert len({p.detail for p in wanted if p.kind == SQUARES}) > 5


@numba.njit
def compiled(count):  # type: ignore[no-untyped-def]
    return np.ones(count, np.uint8).sum()


def see_peaks() -> None:
    """Run this in a fresh process: memory that earlier tests freed would hide what is allocated here."""
    compiled(10)
    size = 100 * MIB
    for work in (
        lambda: np.ones(size, np.uint8).sum(),
        lambda: compiled(size),
        lambda: bytes(bytearray(b"1") * (size // 2)),
        lambda: Image.new("L", (size // 1024, 1024), 1).getpixel((0, 0)),
    ):
        assert 0.95 * size < peak_memory(work) < 1.2 * size
    # What was used before is not counted.
    assert peak_memory(lambda: None) < 4 * MIB


@pytest.mark.slow
@linux
def test_peak_memory_is_seen_whoever_asks_for_it() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(see_peaks).result()


@pytest.mark.slow
@linux
def test_each_image_is_measured_in_a_process_of_its_own() -> None:
    wanted = [MadeImage("one colour", 40, 30, one_colour), MadeImage("noise", 400, 300, noise)]
    flat, busy = measure_all(wanted, "fast")
    assert flat.boxes == 1 < busy.boxes
    assert flat.seconds > 0 and 0 <= flat.peak_bytes < busy.peak_bytes < 200 * MIB


def test_the_table_and_the_image(tmp_path: Path) -> None:
    wanted = made_images()
    costs = [Cost(number + 1, 0.0123, 3 * MIB) for number in range(len(wanted))]
    lines = table(wanted, costs)
    assert len(lines) == 2 + len(wanted)
    number = next(i for i, p in enumerate(wanted) if (p.kind, p.width) == ("noise", 8000))
    assert f"| noise | 8,000x6,000 | 48 | {number + 1} | 12.3 | 3.0 |" in lines
    draw(wanted, costs, "title", tmp_path / "growth.png")
    with Image.open(tmp_path / "growth.png") as picture:
        assert picture.width == 1600
