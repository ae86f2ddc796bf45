"""Training reads images as the job does: what the reader refuses ends `fetch`, with the file and the reason."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from detector.common.errors import AnnotationError
from detector.data.frames import read_image_file

GREY = np.linspace(0, 1, 30 * 40).reshape(30, 40)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.rint(GREY * 4095).astype(np.uint16), "its 16-bit samples use a quarter of their range at most"),
        ((GREY * 1000).astype(np.float32), "neither from 0 to 1 nor whole numbers"),
        ((GREY * 30_000).astype(np.int16), "its samples are signed"),
    ],
)
def test_an_image_without_a_stated_range_is_refused(samples: np.ndarray, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.tif"
    tifffile.imwrite(path, samples)
    with pytest.raises(AnnotationError, match=f"photo.tif: .*{reason}.*: save it with 8 bits a sample"):
        read_image_file(path)


def test_an_image_with_a_stated_range_is_read(tmp_path: Path) -> None:
    path = tmp_path / "photo.tif"
    tifffile.imwrite(path, GREY.astype(np.float32))
    file = read_image_file(path)
    assert (file.height, file.width) == (30, 40)
