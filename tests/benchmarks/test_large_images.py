"""What measures tiles and large JPEGs: mosaics with their truth, and AP by size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.mosaics import write_mosaics
from benchmarks.tiles import SIZES, of_size
from detector.data.annotations import CocoDataset
from detector.runtime.images import decode_image
from detector.runtime.postprocess import Detections
from tests.support.datasets import image_info


def test_a_mosaic_has_each_object_where_it_says(tmp_path: Path) -> None:
    """Five photographs of 100 x 60 with a white object: four of them fill one mosaic of cells that are 200 x 150."""
    images = [image_info(n, [[10 + n, 20, 50, 40]], n % 2, ignore=n == 3) for n in range(1, 6)]
    for info in images:
        photo = Image.new("RGB", (100, 60))
        photo.paste((255, 255, 255), tuple(info.boxes[0].astype(int).tolist()))
        photo.save(tmp_path / info.file_name)
    truth = CocoDataset(("cat", "dog"), tuple(images))
    made = write_mosaics(truth, tmp_path, tmp_path / "out", grid=2, cell=(150, 200), title="draw")
    (mosaic,) = made.images
    assert (mosaic.width, mosaic.height) == (400, 300)
    assert mosaic.boxes.tolist() == [[22, 40, 100, 80], [224, 40, 300, 80], [26, 190, 100, 230], [228, 190, 300, 230]]
    assert mosaic.labels.tolist() == [1, 0, 1, 0] and mosaic.ignore.tolist() == [False, False, True, False]
    pixels = decode_image((tmp_path / "out" / mosaic.file_name).read_bytes())
    for x1, y1, x2, y2 in mosaic.boxes.astype(int):
        assert pixels[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3].min() > 200
        assert pixels[y1 - 6 : y2 + 6, x1 - 6].max() < 60
    large = write_mosaics(truth, tmp_path, tmp_path / "large", grid=1, cell=(400, 400), title="draw")
    assert [(info.width, info.height) for info in large.images] == [(400, 240)] * 5  # nothing is grey
    assert large.images[0].boxes.tolist() == [[44, 80, 200, 160]]


def test_ap_of_a_size_ignores_the_others() -> None:
    """A small object that is found, a large one that is not, and a wrong box of each size."""
    boxes = [[0, 0, 90, 90], [200, 0, 400, 200]]
    truth = CocoDataset(("cat",), (image_info(1, boxes, size=(1000, 500)),))

    def aps(*found: list[float]) -> list[float]:
        rows = np.array(found, np.float32)
        scores = np.linspace(0.9, 0.5, len(rows))
        own = Detections(rows, scores, np.zeros(len(rows), np.int64))
        return [of_size(truth, {1: own}, *size).map_all_point(0.5) for size in SIZES.values()]

    small, wrong_small, wrong_large = [0, 0, 90, 90], [500, 0, 540, 40], [600, 0, 900, 300]
    assert aps(small) == [1, 0, 0.5]
    assert aps(wrong_large, small) == [1, 0, pytest.approx(0.25)]
    assert aps(wrong_small, small) == [0.5, 0, pytest.approx(0.25)]
    assert aps([0, 0, 110, 100], boxes[1]) == [1, 1, 1]  # larger than 96 x 96, and right for a small object
