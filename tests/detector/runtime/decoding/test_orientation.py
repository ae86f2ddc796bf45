"""Only EXIF turns an image; the orientation in an XMP packet does not, whatever the format."""

import numpy as np
import pytest
from PIL import Image

from detector.runtime.images import decode_image, frame_size
from tests.support.encoded import encode, with_orientations

STORED = np.zeros((40, 64, 3), np.uint8)
STORED[:20, :32], STORED[:20, 32:], STORED[20:, :32] = (250, 10, 10), (10, 250, 10), (10, 10, 250)
UPRIGHT = {None: STORED, 1: STORED, 3: STORED[::-1, ::-1], 6: np.rot90(STORED, -1), 8: np.rot90(STORED)}
LOSSLESS = {"JPEG": {"quality": 95, "subsampling": 0}, "PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize(("exif", "xmp"), [(None, 6), (None, 3), (6, None), (6, 1), (1, 6), (3, 6), (6, 6), (8, 3)])
def test_exif_decides_and_xmp_does_not(kind: str, exif: int | None, xmp: int | None) -> None:
    data = with_orientations(Image.fromarray(STORED), kind, exif, xmp, **LOSSLESS[kind])
    assert xmp is None or b"tiff:Orientation" in data
    found = decode_image(data)
    assert found.shape == UPRIGHT[exif].shape and frame_size(data) == found.shape[:2]
    assert np.abs(found.astype(int) - UPRIGHT[exif]).mean() < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_without_an_orientation_leaves_the_pixels_as_stored(kind: str) -> None:
    """The block that most cameras and editors write."""
    exif = Image.Exif()
    exif[271] = "camera"
    data = with_orientations(Image.fromarray(STORED), kind, exif, 6, **LOSSLESS[kind])
    assert b"camera" in data
    assert np.abs(decode_image(data).astype(int) - STORED).mean() < 3


def test_xmp_does_not_turn_a_compressed_tiff() -> None:
    data = with_orientations(Image.fromarray(STORED), "TIFF", None, 6, compression="tiff_lzw")
    np.testing.assert_array_equal(decode_image(data), STORED)


@pytest.mark.parametrize("chunk", ["tEXt", "zTXt"])
def test_exif_as_text_counts_in_a_png_and_an_exif_chunk_goes_first(chunk: str) -> None:
    exif = Image.Exif()
    exif[274] = 6
    block = exif.tobytes()
    text = f"\nexif\n{len(block):8}\n" + "\n".join(block.hex()[i : i + 72] for i in range(0, 2 * len(block), 72)) + "\n"
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Raw profile type exif", text, zip=chunk == "zTXt")
    data = encode(Image.fromarray(STORED), "PNG", pnginfo=info)
    assert chunk.encode() in data
    np.testing.assert_array_equal(decode_image(data), UPRIGHT[6])
    exif[274] = 3
    data = encode(Image.fromarray(STORED), "PNG", pnginfo=info, exif=exif)
    np.testing.assert_array_equal(decode_image(data), UPRIGHT[3])


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_leaves_the_pixels_as_stored(value: int) -> None:
    for kind in ("PNG", "TIFF"):
        data = with_orientations(Image.fromarray(STORED), kind, value, 6)
        np.testing.assert_array_equal(decode_image(data), STORED)
