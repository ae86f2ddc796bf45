"""What is measured of an image's pixels, and how little it depends on how the image was read."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data

from detector.runtime.hashes import NEAR
from detector.runtime.image_quality import ImageQuality, read_and_measure
from detector.runtime.images import Pixels
from detector.runtime.reading import Reading, read_image


def _encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _whole(pixels: Pixels | Image.Image) -> ImageQuality:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    quality = read_and_measure(_encoded(image), Reading(*image.size[::-1], None)).quality
    assert quality is not None
    return quality


def _photo(side: int) -> Image.Image:
    image = Image.fromarray(data.coffee())  # 600 x 400
    return image.resize((side, side * 2 // 3), Image.Resampling.BICUBIC)


def _bits(one: ImageQuality, other: ImageQuality) -> int:
    return (int(one.perceptual_hash, 16) ^ int(other.perceptual_hash, 16)).bit_count()


def test_known_pixels_give_known_numbers() -> None:
    """Red on the left, and a white, a black and a grey quarter on the right of 256 x 64 pixels: no resizing."""
    pixels = np.zeros((64, 256, 3), np.uint8)
    pixels[:, :128] = 200, 100, 50
    pixels[:, 192:] = 255
    quality = _whole(pixels)
    red, green, blue = (128 * 200 + 64 * 255) / 256, (128 * 100 + 64 * 255) / 256, (128 * 50 + 64 * 255) / 256
    assert quality.brightness == round(0.299 * red + 0.587 * green + 0.114 * blue, 2)
    assert (quality.red_green, quality.blue_yellow) == (round(red - green, 2), round(blue - (red + green) / 2, 2))
    assert (quality.clipped_dark, quality.clipped_bright, quality.aspect) == (0.25, 0.25, 4.0)
    assert quality.contrast == round(float(pixels[..., 1].std()), 2)
    # Of 254 columns, 126 and 127 have -100 and 100, and 190 and 191... -255 and 255, in every row.
    laplacian = np.zeros(254)
    laplacian[[126, 127]], laplacian[[190, 191]] = [100, -100], [-255, 255]
    assert quality.sharpness == round(float(laplacian.var()), 2)


def test_each_fault_moves_its_number() -> None:
    photo = _photo(600)
    base = _whole(photo)
    blurred = _whole(photo.filter(ImageFilter.GaussianBlur(4)))
    assert blurred.sharpness < base.sharpness / 8 and _bits(base, blurred) <= NEAR
    assert _whole(photo.point(lambda level: level // 6)).brightness < base.brightness / 5
    assert _whole(photo.point(lambda level: min(255, level * 3))).clipped_bright > base.clipped_bright + 0.2
    swapped = _whole(np.ascontiguousarray(np.asarray(photo)[..., ::-1]))
    assert swapped.blue_yellow > base.blue_yellow + 20
    assert _whole(photo.rotate(90, expand=True)).aspect == round(2 / 3, 4)
    assert _bits(base, _whole(photo.resize((300, 200)))) <= NEAR < _bits(base, _whole(photo.rotate(180)))


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (3000, 2), (2, 2), (256, 256), (255, 257), (5, 700)])
def test_any_shape_is_measured(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    quality = _whole(pixels)
    assert all(math.isfinite(value) for value in list(vars(quality).values())[:-1])
    assert quality.aspect == round(shape[1] / shape[0], 4) and quality.sharpness >= 0


@pytest.mark.parametrize("side", [1400, 2601, 4001])
def test_detectors_of_other_sizes_measure_nearly_the_same(side: int) -> None:
    """A JPEG is decoded at a fraction that depends on the detector; the documented tolerance holds."""
    encoded = _encoded(_photo(side), "JPEG", quality=90)
    whole = read_and_measure(encoded, Reading(side * 2 // 3, side, None)).quality
    assert whole is not None
    for size in (32, 100, 256, 320, 416, 640):
        reading = Reading(size * 2 // 3, size, "bilinear")
        read = read_and_measure(encoded, reading)
        assert np.array_equal(read.pixels, read_image(encoded, reading).pixels)
        found = read.quality
        assert found is not None
        assert abs(found.sharpness / whole.sharpness - 1) <= 0.1
        for name in ("brightness", "contrast", "red_green", "blue_yellow"):
            assert abs(getattr(found, name) - getattr(whole, name)) <= 1, name
        for name in ("clipped_dark", "clipped_bright"):
            assert abs(getattr(found, name) - getattr(whole, name)) <= 0.01, name
        assert _bits(found, whole) <= 4 and found.aspect == whole.aspect
        assert found == read_and_measure(encoded, reading).quality
