"""Samples of every depth become the right 8 bits, or the image is unreadable."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from detector.common.errors import ImageError
from detector.runtime.images import decode_image
from tests.support.encoded import encode, packed_tiff
from tests.support.faults.corpus.images import png, png_chunk

HEIGHT, WIDTH = 24, 35
GREY = np.linspace(0, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
RGB = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def eight_bits(values: NDArray[np.floating]) -> NDArray[np.integer]:
    """Values from 0 to 1 as RGB (H, W, 3) from 0 to 255."""
    found = np.rint(values * 255).astype(int)
    return found if found.ndim == 3 else found[..., None].repeat(3, 2)


def scaled(values: NDArray[np.floating], kind: str) -> NDArray[Any]:
    """Values from 0 to 1 over the whole range of a type."""
    dtype = np.dtype(kind)
    return (values if dtype.kind == "f" else values * np.iinfo(dtype).max).astype(dtype)


def tiff(samples: NDArray[Any], photometric: str = "minisblack", **options: Any) -> bytes:
    data = io.BytesIO()
    tifffile.imwrite(data, samples, photometric=photometric, metadata=None, **options)
    return data.getvalue()


def assert_shows(data: bytes, expected: NDArray[np.integer], tolerance: int = 1) -> None:
    found = decode_image(data)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= tolerance


def assert_unreadable(data: bytes, reason: str | None = None) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        decode_image(data)
    assert caught.value.status == "unreadable"


COMPRESSIONS = [None, "zlib"]
LAYOUTS: list[dict[str, Any]] = [{}, {"tile": (16, 16)}, {"rowsperstrip": 5}]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("kind", ["<u1", ">u1", "<u2", ">u2", "<u4", "<f4"])
def test_grey(kind: str, compression: str | None, layout: dict[str, Any]) -> None:
    options = {"byteorder": kind[0], "compression": compression, **layout}
    assert_shows(tiff(scaled(GREY, kind), **options), eight_bits(GREY))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("kind", ["<u1", ">u1", "<u2", "<f4"])
def test_white_is_zero(kind: str, compression: str | None) -> None:
    data = tiff(scaled(GREY, kind), "miniswhite", byteorder=kind[0], compression=compression)
    assert_shows(data, eight_bits(1 - GREY))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("kind", ["<u1", ">u1", "<u2", ">u2"])
def test_rgb(kind: str, compression: str | None, layout: dict[str, Any]) -> None:
    options = {"byteorder": kind[0], "compression": compression, **layout}
    samples = scaled(RGB, kind)
    assert_shows(tiff(samples, "rgb", **options), eight_bits(RGB))
    planes = tiff(np.ascontiguousarray(samples.transpose(2, 0, 1)), "rgb", planarconfig="separate", **options)
    if kind[1:] == "u2" and compression is None:
        assert_unreadable(planes, "planes")
    else:
        assert_shows(planes, eight_bits(RGB))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("kind", ["<i1", ">i1", "<i2", ">i2", "<i4", ">i4", "<f2", "<f8", ">u4"])
def test_what_has_no_meaning_or_no_decoder_is_unreadable(kind: str, compression: str | None) -> None:
    assert_unreadable(tiff(scaled(GREY, kind), byteorder=kind[0], compression=compression))


def test_compressed_big_endian_floats_are_unreadable() -> None:
    assert_shows(tiff(scaled(GREY, ">f4"), byteorder=">"), eight_bits(GREY))
    assert_unreadable(tiff(scaled(GREY, ">f4"), byteorder=">", compression="zlib"), "big-endian")


@pytest.mark.parametrize("bits", range(1, 16))
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("width", [WIDTH, WIDTH - 1])
def test_packed_samples_of_any_number_of_bits(bits: int, photometric: int, width: int) -> None:
    samples = np.rint(GREY[:, :width] * (2**bits - 1)).astype(int)
    data = packed_tiff(samples, bits, photometric=photometric)
    values = samples / (2**bits - 1)
    if bits in (1, 2, 4, 8) or (bits == 12 and photometric == 1):
        assert_shows(data, eight_bits(values if photometric == 1 else 1 - values))
    else:
        assert_unreadable(data)


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("tag", [281, 341])
def test_fewer_bits_than_the_container_has_are_stated_or_the_image_is_unreadable(bits: int, tag: int) -> None:
    samples = np.rint(GREY * (2**bits - 1)).astype(np.uint16)
    assert_unreadable(tiff(samples), "quarter of their range")
    assert_shows(tiff(samples, extratags=[(tag, 3, 1, 2**bits - 1, True)]), eight_bits(GREY))
    assert_unreadable(tiff(np.rint(RGB * (2**bits - 1)).astype(np.uint16), "rgb"), "quarter of their range")
    assert_unreadable(encode(Image.fromarray(samples), "PNG"), "quarter of their range")


def test_a_largest_value_that_is_a_statistic_does_not_scale() -> None:
    for largest in (58_981, 12_001):
        data = tiff((GREY * largest).astype(np.uint16), extratags=[(281, 3, 1, largest, True)])
        if largest > 16_383:
            assert_shows(data, eight_bits(GREY * largest / 65_535))
        else:
            assert_unreadable(data, "quarter of their range")


def test_samples_of_32_bits_above_the_range_of_signed_ones() -> None:
    values = 0.55 + 0.45 * GREY
    values[0, 0] = 5 / 2**32
    assert_shows(tiff(scaled(values, "<u4")), eight_bits(values))


def test_black_is_black_at_any_depth() -> None:
    for kind in ("<u2", "<u4", "<f4"):
        assert_shows(tiff(np.zeros((HEIGHT, WIDTH), kind)), eight_bits(GREY * 0))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_dark_image_of_8_bits_is_read(mode: str) -> None:
    image = Image.new("RGB", (160, 16), (3, 3, 3)).convert(mode)
    for kind in ("PNG", "TIFF"):
        assert (decode_image(encode(image, kind)) == 3).all()


def test_floats_that_hold_an_8_bit_image_are_kept() -> None:
    assert_shows(tiff(np.rint(GREY * 255).astype(np.float32)), eight_bits(GREY), 0)


@pytest.mark.parametrize(
    "values",
    [GREY * 100, GREY * 2 - 1, GREY * 1e4, np.where(GREY > 0.5, np.nan, GREY), np.where(GREY > 0.5, np.inf, GREY)],
)
def test_floats_of_another_range_are_unreadable(values: NDArray[np.floating]) -> None:
    assert_unreadable(tiff(values.astype(np.float32)), "floating-point")


def without_extra_samples(data: bytes) -> bytes:
    """Give the tag ExtraSamples (338) of a little-endian TIFF a number that nobody knows."""
    place = data.index(struct.pack("<HH", 338, 3))
    return data[:place] + struct.pack("<H", 60_000) + data[place + 2 :]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("kind", ["<u1", "<u2"])
@pytest.mark.parametrize("fourth", [0, 0.5, 1])
def test_a_fourth_band_is_alpha_only_if_the_file_says_so(kind: str, compression: str | None, fourth: float) -> None:
    bands = scaled(np.dstack([RGB, np.full_like(GREY, fourth)]), kind)
    infrared = tiff(bands, "rgb", extrasamples=(0,), compression=compression)
    assert_shows(infrared, eight_bits(RGB))
    assert_shows(without_extra_samples(infrared), eight_bits(RGB))
    alpha = tiff(bands, "rgb", extrasamples=(2,), compression=compression)
    assert_shows(alpha, eight_bits(1 - fourth * (1 - RGB)), 2)


def test_more_bands_than_colours_are_left_out() -> None:
    bands = scaled(np.dstack([RGB, GREY, GREY]), "<u1")
    assert_shows(tiff(bands, "rgb", extrasamples=(0, 0)), eight_bits(RGB))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("kind", ["<u1", "<u2"])
def test_cmyk(kind: str, compression: str | None) -> None:
    inks = scaled(np.dstack([1 - RGB, np.zeros_like(GREY)]), kind)
    assert_shows(tiff(inks, "separated", compression=compression), eight_bits(RGB), 2)


@pytest.mark.parametrize("scale", [1, 257])
def test_a_palette_of_8_or_16_bits(scale: int) -> None:
    colours = np.stack([np.arange(256), np.arange(256)[::-1], np.arange(256) // 2]).astype(np.uint16)
    indices = scaled(GREY, "<u1")
    data = tiff(indices, "palette", colormap=colours * scale)
    assert_shows(data, colours.T[indices].astype(int), 0)


def test_ycbcr_and_lab() -> None:
    from skimage.color import rgb2lab

    pastel = np.rint(255 * (0.4 + 0.3 * RGB)).astype(np.uint8)
    ycbcr = np.asarray(Image.fromarray(pastel).convert("YCbCr"))
    for compression in COMPRESSIONS:
        assert_shows(tiff(ycbcr, "ycbcr", subsampling=(1, 1), compression=compression), pastel.astype(int), 3)
    lab = np.rint(rgb2lab(pastel) * [2.55, 1, 1]).astype(int) % 256
    # Pillow's white is D50, that of scikit-image D65.
    assert_shows(tiff(lab.astype(np.uint8), "cielab"), pastel.astype(int), 12)
    subsampling = struct.pack("<HHIHH", 530, 3, 2, 1, 1)
    data = tiff(ycbcr, "ycbcr", subsampling=(1, 1))
    assert subsampling in data
    assert_unreadable(data.replace(subsampling, subsampling[:8] + struct.pack("<HH", 2, 2)), "subsampled")


@pytest.mark.parametrize("tag", [(254, 4, 1, 1, True), (50706, 1, 4, b"\1\4\0\0", True)])
def test_the_preview_of_a_raw_image_is_not_read_in_its_place(tag: tuple[object, ...]) -> None:
    data = (
        tiff(scaled(RGB, "<u1"), "rgb", extratags=[tag])
        if tag[0] != 254
        else tiff(scaled(RGB, "<u1"), "rgb", subfiletype=1)
    )
    assert_unreadable(data, "preview")


def png_of(samples: NDArray[np.integer], depth: int, kind: int, *chunks: bytes) -> bytes:
    """A PNG of samples (h, w) or (h, w, bands); kind: PNG's colour type."""
    height, width = samples.shape[:2]
    lines = b""
    for row in samples.reshape(height, -1):
        text = "".join(format(int(value), f"0{depth}b") for value in row)
        text += "0" * (-len(text) % 8)
        lines += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    return png(width, height, zlib.compress(lines), depth=depth, kind=kind, before=b"".join(chunks))


def test_png_of_16_bits_with_and_without_alpha() -> None:
    significant = png_chunk(b"sBIT", bytes([12]))  # PNG scales samples to the whole range, whatever was significant
    assert_shows(png_of(scaled(GREY, "<u2"), 16, 0, significant), eight_bits(GREY))
    assert_shows(png_of(scaled(RGB, "<u2"), 16, 2), eight_bits(RGB))
    half = np.full_like(GREY, 0.5)
    assert_shows(png_of(scaled(np.dstack([GREY, half]), "<u2"), 16, 4), eight_bits(1 - 0.5 * (1 - GREY)), 2)
    assert_shows(png_of(scaled(np.dstack([RGB, half]), "<u2"), 16, 6), eight_bits(1 - 0.5 * (1 - RGB)), 2)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_is_white(depth: int) -> None:
    samples = np.rint(GREY * (2**depth - 1)).astype(int)
    clear = int(samples[12, 20])
    expected = eight_bits(np.where(samples == clear, 1, samples / (2**depth - 1)))
    assert_shows(png_of(samples, depth, 0, png_chunk(b"tRNS", struct.pack(">H", clear))), expected)


def test_a_transparent_colour_of_16_bits_does_not_match_others() -> None:
    """Pillow compares the low byte of each sample with the high byte of each pixel."""
    samples = np.rint(RGB * 255).astype(int) * 257
    clear = samples[12, 20] - [256, 0, 0]
    assert_shows(png_of(samples, 16, 2, png_chunk(b"tRNS", struct.pack(">3H", *clear))), eight_bits(RGB))


@pytest.mark.parametrize("depth", [8, 16])
def test_the_transparent_colour_of_a_png_is_white(depth: int) -> None:
    samples = np.rint(RGB * 255).astype(int) * (257 if depth == 16 else 1)
    clear = samples[12, 20]
    expected = np.where((samples == clear).all(axis=2)[..., None], 255, eight_bits(RGB))
    assert_shows(png_of(samples, depth, 2, png_chunk(b"tRNS", struct.pack(">3H", *clear))), expected)


def bmp32(alpha: NDArray[np.uint8], masks: tuple[int, ...]) -> bytes:
    """A BMP of 32 bits a pixel, blue first, with bit fields and a header of version 4."""
    bgra = np.dstack([scaled(RGB, "<u1")[::-1, :, ::-1], alpha[::-1]])
    header = struct.pack("<IiiHHIIiiII4I", 108, WIDTH, HEIGHT, 1, 32, 3, bgra.size, 0, 0, 0, 0, *masks) + bytes(52)
    return b"BM" + struct.pack("<IHHI", 122 + bgra.size, 0, 0, 122) + header + bgra.tobytes()


MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def test_a_bmp_without_any_alpha_is_opaque() -> None:
    shape = (HEIGHT, WIDTH)
    assert_shows(bmp32(np.zeros(shape, np.uint8), MASKS), eight_bits(RGB))
    assert_shows(bmp32(np.full(shape, 255, np.uint8), MASKS), eight_bits(RGB))
    assert_shows(bmp32(np.zeros(shape, np.uint8), (*MASKS[:3], 0)), eight_bits(RGB))


def test_the_alpha_of_a_bmp_counts_if_there_is_any() -> None:
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[:, :10] = 255
    expected = eight_bits(RGB)
    expected[:, 10:] = 255
    assert_shows(bmp32(alpha, MASKS), expected)


def test_a_large_image_is_converted_in_bands_like_a_small_one() -> None:
    """More than 2^22 pixels, so that there are several bands; every row is another grey."""
    grey = np.linspace(0, 1, 2100)[:, None].repeat(2100, 1)
    for kind in ("<u2", "<f4"):
        assert_shows(tiff(scaled(grey, kind)), eight_bits(grey))
    bands = scaled(np.dstack([grey, grey, grey, np.full_like(grey, 0.5)]), "<u1")
    assert_shows(tiff(bands, "rgb", extrasamples=(2,)), eight_bits(1 - 0.5 * (1 - grey)), 2)
