import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from detector.common.errors import ImageError
from detector.runtime.images import decode_image, normalise


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def corners() -> np.ndarray:
    """uint8 (40, 64, 3): each quarter has a colour of its own, so that every turn and flip is another image."""
    pixels = np.zeros((40, 64, 3), np.uint8)
    pixels[:20, :32], pixels[:20, 32:] = (250, 10, 10), (10, 250, 10)
    pixels[20:, :32], pixels[20:, 32:] = (10, 10, 250), (240, 240, 10)
    return pixels


# How a viewer must turn the stored pixels for each value of EXIF's tag 274.
UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    expected = UPRIGHT[orientation](corners())
    for kind, options in (("PNG", {}), ("JPEG", {"quality": 95, "subsampling": 0})):
        found = decode_image(encode(Image.fromarray(corners()), kind, exif=exif, **options))
        assert found.shape == expected.shape and found.dtype == np.uint8 and found.flags.c_contiguous
        assert np.abs(found.astype(int) - expected).mean() < 3


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0garbage garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0"],
)
def test_damaged_exif_does_not_cost_the_image(exif: bytes) -> None:
    assert decode_image(encode(Image.fromarray(corners()), "JPEG", exif=exif)).shape == (40, 64, 3)


def test_cmyk_becomes_rgb() -> None:
    data = encode(Image.new("CMYK", (6, 4), (0, 255, 255, 0)), "JPEG", quality=95)
    found = decode_image(data)
    assert found.shape == (4, 6, 3)
    np.testing.assert_allclose(found[0, 0], [255, 0, 0], atol=6)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_eight_high_bits(kind: str) -> None:
    values = np.array([[0, 255, 256, 1000], [0x7FFF, 0x8000, 0xFF00, 0xFFFF]], np.uint16)
    found = decode_image(encode(Image.fromarray(values), kind))
    assert found.shape == (2, 4, 3)
    for channel in range(3):
        np.testing.assert_array_equal(found[:, :, channel], values >> 8)


def test_a_palette_is_looked_up() -> None:
    picture = Image.fromarray(corners()).quantize(4)
    np.testing.assert_array_equal(decode_image(encode(picture, "PNG")), np.asarray(picture.convert("RGB")))


def test_one_bit_images_are_black_and_white() -> None:
    bits = Image.new("1", (3, 2))
    bits.putpixel((2, 1), 1)
    found = decode_image(encode(bits, "PNG"))
    assert found[1, 2].tolist() == [255] * 3 and found.sum() == 3 * 255


def test_transparency_shows_white() -> None:
    picture = Image.new("RGBA", (3, 2), (100, 0, 200, 255))
    picture.putpixel((1, 0), (9, 9, 9, 0))
    picture.putpixel((2, 0), (0, 0, 0, 128))
    found = decode_image(encode(picture, "PNG"))
    assert found[0, 0].tolist() == [100, 0, 200] and found[0, 1].tolist() == [255] * 3
    np.testing.assert_allclose(found[0, 2], 127, atol=1)


def test_grey_with_transparency_shows_white() -> None:
    picture = Image.new("LA", (3, 2), (40, 255))
    picture.putpixel((1, 0), (40, 0))
    found = decode_image(encode(picture, "PNG"))
    assert found[0, :2].tolist() == [[40] * 3, [255] * 3]


def test_a_transparent_palette_entry_shows_white() -> None:
    picture = Image.fromarray(corners()).quantize(4)
    clear = picture.getpixel((0, 0))
    found = decode_image(encode(picture, "PNG", transparency=clear))
    assert (found[:20, :32] == 255).all()
    np.testing.assert_array_equal(found[20:], np.asarray(picture.convert("RGB"))[20:])


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    red, blue = Image.new("RGB", (7, 4), (255, 0, 0)), Image.new("RGB", (7, 4), (0, 0, 255))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(red, kind, save_all=True, append_images=[blue, red], duration=50, **options)
    assert Image.open(io.BytesIO(data)).n_frames > 1
    found = decode_image(data)
    assert found.shape == (4, 7, 3) and (found == [255, 0, 0]).all()


def refused(data: bytes, **options: int) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data, **options)
    assert str(caught.value)
    return caught.value.status


def test_no_bytes_are_empty() -> None:
    assert refused(b"") == "empty"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_a_truncated_image_is_unreadable(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 3)).astype(np.uint8)
    data = encode(Image.fromarray(noise), kind)
    assert decode_image(data).shape == (40, 64, 3)
    assert refused(data[: len(data) // 2]) == "unreadable"


@pytest.mark.parametrize("data", [b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"<svg/>", b"GIF89a", bytes(100)])
def test_what_is_no_image_is_unreadable(data: bytes) -> None:
    assert refused(data) == "unreadable"


def png_claiming(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to no pixels: whoever decodes it fails, and not with `too_large`."""
    chunks = [
        b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),
        b"IDAT" + zlib.compress(b"\0" * 20),
        b"IEND",
    ]
    packed = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_a_bomb_is_too_large_before_it_is_decoded() -> None:
    assert refused(png_claiming(100_000, 100_000)) == "too_large"  # beyond Pillow's own limit
    assert refused(png_claiming(13_400, 13_400)) == "too_large"  # beyond ours
    assert refused(png_claiming(64, 40)) == "unreadable"


def test_the_limit_counts_pixels() -> None:
    data = encode(Image.fromarray(corners()), "PNG")
    assert decode_image(data, max_pixels=40 * 64).shape == (40, 64, 3)
    assert refused(data, max_pixels=40 * 64 - 1) == "too_large"


@pytest.mark.parametrize(("height", "width"), [(1, 1), (31, 33), (32, 64), (40, 65)])
def test_normalised_pixels_are_padded_with_zeros_to_multiples_of_32(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    found = normalise(pixels)
    assert found.dtype == np.float32 and found.shape == (3, -(-height // 32) * 32, -(-width // 32) * 32)
    np.testing.assert_array_equal(found[:, :height, :width], (pixels.transpose(2, 0, 1) - np.float32(127)) / 128)
    assert not found[:, height:].any() and not found[:, :, width:].any()
