"""Whole images in less usual formats, depths and colour spaces."""

from __future__ import annotations

import struct
import zlib
from functools import partial

import numpy as np
from PIL import Image

from tests.support.faults.corpus.images import (
    BLACK,
    BLUE,
    CORNERS,
    GREEN,
    GREY,
    LOSSY,
    RED,
    WHITE,
    Colour,
    Hostile,
    after_soi,
    bmp,
    encode,
    flat,
    jpeg,
    jpeg_segment,
    ok,
    png,
    png_chunk,
    quarters,
    rgb,
)

GREYS: tuple[Colour, Colour, Colour, Colour] = ((40, 40, 40), (110, 110, 110), (180, 180, 180), (250, 250, 250))
# Pillow's own way from CMYK to RGB: (255 - C)(255 - K) / 255.
_CMYK = ((0, 200, 200, 20), (200, 0, 200, 20), (200, 200, 0, 20), (0, 0, 0, 0))
_CMYK_SEEN = ((235, 51, 51), (51, 235, 51), (51, 51, 235), (255, 255, 255))


def _cmyk() -> Image.Image:
    pixels = np.empty((32, 48, 4), np.uint8)
    for index, colour in enumerate(_CMYK):
        row, column = divmod(index, 2)
        pixels[16 * row : 16 * row + 16, 24 * column : 24 * column + 24] = colour
    return Image.fromarray(pixels, "CMYK")


def _ycck() -> bytes:
    """Red in YCCK: its inks (255 - RGB) travel as YCbCr, black as it is; Adobe's marker says so."""
    cyan, magenta, yellow = (255 - value for value in RED)
    luma = 0.299 * cyan + 0.587 * magenta + 0.114 * yellow
    stored = (luma, 128 + 0.564 * (yellow - luma), 128 + 0.713 * (cyan - luma))
    # Pillow writes all four bands inverted, as Adobe does, and says that they are CMYK.
    bands = tuple(255 - round(value) for value in stored)
    data = encode(Image.new("CMYK", (48, 32), (*bands, 0)), "JPEG", quality=95)
    place = data.index(b"Adobe") + 11
    return data[:place] + b"\x02" + data[place + 1 :]


def _grey() -> Image.Image:
    return Image.fromarray(quarters(GREYS)[..., 0])


def _sixteen() -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """The eight high bits are the greys."""
    return (quarters(GREYS)[..., 0].astype(np.uint16) << 8) + 77  # type: ignore[return-value]


def _png_of_samples(samples: np.ndarray[tuple[int, ...], np.dtype[np.uint16]], kind: int, before: bytes = b"") -> bytes:
    """A PNG with 16 bits a sample, which Pillow writes for grey only."""
    height, width = samples.shape[:2]
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return png(width, height, zlib.compress(lines), depth=16, kind=kind, before=before)


def _sixteen_rgb(alpha: int | None = None) -> bytes:
    samples = quarters().astype(np.uint16) * 257
    if alpha is None:
        return _png_of_samples(samples, 2)
    return _png_of_samples(np.dstack([samples, np.full((32, 48), alpha * 257, np.uint16)]), 6)


def _sixteen_tiff_rgb() -> bytes:
    """Three 16-bit samples a pixel, without compression."""
    data = (quarters().astype("<u2") * 257).tobytes()
    fields = [(256, 4, 1, 48), (257, 4, 1, 32), (258, 3, 3, 134), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 140),
              (277, 3, 1, 3), (278, 4, 1, 32), (279, 4, 1, len(data)), (284, 3, 1, 1)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *entry) for entry in fields)
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(fields)) + entries + bytes(4)
    return head + struct.pack("<HHH", 16, 16, 16) + data


def _palette() -> Image.Image:
    """Colours 0 to 3 are those of the corners."""
    image = Image.fromarray(np.repeat(np.repeat([[0, 1], [2, 3]], 16, 0), 24, 1).astype(np.uint8), "P")
    image.putpalette([value for colour in CORNERS for value in colour])
    return image


def _with_alpha(alpha: int) -> Image.Image:
    image = rgb().convert("RGBA")
    image.putalpha(alpha)
    return image


def _one_bit() -> Image.Image:
    return Image.fromarray(quarters((BLACK, WHITE, WHITE, BLACK))[..., 0]).convert("1")


def _frames() -> list[Image.Image]:
    """The image, then others."""
    return [rgb(), *(Image.new("RGB", (48, 32), colour) for colour in (RED, GREEN, BLUE))]


def _animated(format: str, **options: object) -> bytes:
    first, *others = _frames()
    return encode(first, format, save_all=True, append_images=others, duration=100, **options)


def _bmp_rows(rows: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], height: int) -> bytes:
    return bmp(48, height, 24, rows[..., ::-1].tobytes())


def _mpo() -> bytes:
    first, *others = _frames()
    return encode(first, "MPO", save_all=True, append_images=others, quality=95, subsampling=0)


def _profile(data: bytes) -> bytes:
    """A colour profile in one JPEG segment."""
    return jpeg_segment(0xE2, b"ICC_PROFILE\0\x01\x01" + data)


def formats() -> dict[str, Hostile]:
    """Return the files by name."""
    greys = partial(ok, corners=GREYS)
    lossy = partial(ok, tolerance=LOSSY)
    transparent_red = b"\x00\xdc\x00\x1e\x00\x1e"  # tRNS of an RGB image: this very colour is seen through
    found = {
        # JPEG
        "baseline.jpg": lossy(jpeg),
        "progressive.jpg": lossy(partial(jpeg, progressive=True)),
        "subsampled.jpg": lossy(partial(jpeg, subsampling=2)),
        "restart-markers.jpg": lossy(partial(jpeg, restart_marker_blocks=1)),
        "rgb-not-ycc.jpg": lossy(partial(jpeg, keep_rgb=True)),
        "grey.jpg": greys(partial(jpeg, _grey(), subsampling=-1), tolerance=LOSSY),
        "cmyk.jpg": lossy(lambda: encode(_cmyk(), "JPEG", quality=95), _CMYK_SEEN),
        "ycck.jpg": lossy(_ycck, flat(RED)),
        "comment.jpg": lossy(partial(jpeg, comment=b"\xff\x00<script>" * 99)),
        "two-pictures.jpg": lossy(lambda: jpeg() + jpeg(Image.new("RGB", (99, 9), BLUE))),
        "mpo.jpg": lossy(_mpo),
        "trailing-garbage.jpg": lossy(lambda: jpeg() + bytes(range(256)) * 40),
        "profile-damaged.jpg": lossy(lambda: after_soi(jpeg(), _profile(b"\x93" * 300))),
        "profile-empty.jpg": lossy(lambda: after_soi(jpeg(), _profile(b""))),
        "profile-in-missing-pieces.jpg": lossy(
            lambda: after_soi(jpeg(), jpeg_segment(0xE2, b"ICC_PROFILE\0\x02\x09" + bytes(100)))
        ),
        "photoshop-damaged.jpg": lossy(
            lambda: after_soi(jpeg(), jpeg_segment(0xED, b"Photoshop 3.0\08BIM\x04\x04\xff" + b"\xff" * 20))
        ),
        # PNG
        "interlaced.png": ok(_interlaced),
        "grey.png": greys(partial(encode, _grey(), "PNG")),
        "grey-16-bit.png": greys(lambda: encode(Image.fromarray(_sixteen()), "PNG")),
        "rgb-16-bit.png": ok(_sixteen_rgb),
        "rgba-16-bit.png": ok(partial(_sixteen_rgb, 255)),
        "one-bit.png": ok(partial(encode, _one_bit(), "PNG"), (BLACK, WHITE, WHITE, BLACK)),
        "two-bit-palette.png": ok(partial(encode, _palette(), "PNG", bits=2)),
        "palette.png": ok(partial(encode, _palette(), "PNG")),
        "palette-transparent-entry.png": ok(
            partial(encode, _palette(), "PNG", transparency=0), (WHITE, *CORNERS[1:])
        ),
        "palette-alphas.png": ok(
            partial(encode, _palette(), "PNG", transparency=bytes([255, 255, 0])), (RED, GREEN, WHITE, WHITE)
        ),
        "grey-transparent.png": greys(
            partial(encode, _grey(), "PNG", transparency=40), corners=(WHITE, *GREYS[1:])
        ),
        "rgb-transparent.png": ok(
            lambda: encode(rgb(), "PNG", transparency=RED), (WHITE, *CORNERS[1:])
        ),
        "rgb-16-bit-transparent.png": ok(
            lambda: _png_of_samples(quarters().astype(np.uint16), 2, png_chunk(b"tRNS", transparent_red)), None
        ),
        "alpha-opaque.png": ok(lambda: encode(_with_alpha(255), "PNG")),
        "alpha-half.png": ok(
            lambda: encode(_with_alpha(128), "PNG"), ((237, 142, 142), (142, 222, 147), (142, 147, 232), WHITE), 1
        ),
        "alpha-nothing.png": ok(lambda: encode(_with_alpha(0), "PNG"), flat(WHITE)),
        "grey-alpha.png": ok(lambda: encode(_grey().convert("LA"), "PNG"), GREYS),
        "grey-alpha-nothing.png": ok(lambda: encode(Image.new("LA", (48, 32), (90, 0)), "PNG"), flat(WHITE)),
        "animated.png": ok(partial(_animated, "PNG")),
        "trailing-garbage.png": ok(lambda: encode(rgb(), "PNG") + b"\0" * 5000),
        "profile-damaged.png": ok(lambda: encode(rgb(), "PNG", icc_profile=b"\x93" * 300)),
        "no-end-chunk.png": ok(lambda: encode(rgb(), "PNG")[:-12]),
        "wrong-extension-jpeg.png": lossy(jpeg),
        "wrong-extension-png.jpg": ok(partial(encode, rgb(), "PNG")),
        "wrong-extension-gif.webp": ok(partial(encode, _palette(), "GIF")),
        "wrong-extension-tiff.jpeg": ok(partial(encode, rgb(), "TIFF")),
        "CAPITALS.PNG": ok(partial(encode, rgb(), "PNG")),
        # Sizes
        "one-pixel.png": ok(lambda: encode(Image.new("RGB", (1, 1), RED), "PNG"), flat(RED), size=(1, 1)),
        "one-pixel.gif": ok(lambda: encode(Image.new("L", (1, 1), 90), "GIF"), flat(GREY), size=(1, 1)),
        "one-pixel.jpg": lossy(lambda: jpeg(Image.new("RGB", (1, 1), RED)), flat(RED), size=(1, 1)),
        "one-column.png": ok(lambda: encode(Image.new("RGB", (1, 300), RED), "PNG"), flat(RED), size=(1, 300)),
        "strip-10000.png": ok(lambda: encode(Image.new("RGB", (10_000, 1), RED), "PNG"), flat(RED), size=(10_000, 1)),
        "strip-10000.jpg": lossy(lambda: jpeg(Image.new("RGB", (1, 10_000), RED)), flat(RED), size=(1, 10_000)),
        "strip-65500.jpg": lossy(lambda: jpeg(Image.new("L", (65_500, 2), 90)), flat(GREY), size=(65_500, 2)),
        # GIF
        "palette.gif": ok(partial(encode, _palette(), "GIF")),
        "animated.gif": ok(partial(_animated, "GIF")),
        "transparent.gif": ok(partial(encode, _palette(), "GIF", transparency=0), (WHITE, *CORNERS[1:])),
        "interlaced.gif": ok(partial(encode, _palette(), "GIF", interlace=True)),
        "trailing-garbage.gif": ok(lambda: encode(_palette(), "GIF") + b"GIF89a" * 99),
        # WebP
        "lossy.webp": ok(partial(encode, rgb(), "WEBP", quality=100), tolerance=2 * LOSSY),
        "lossless.webp": ok(partial(encode, rgb(), "WEBP", lossless=True)),
        "alpha-nothing.webp": ok(lambda: encode(_with_alpha(0), "WEBP", lossless=True), flat(WHITE)),
        "animated.webp": ok(partial(_animated, "WEBP", lossless=True)),
        # BMP
        "rgb.bmp": ok(partial(encode, rgb(), "BMP")),
        "palette.bmp": ok(partial(encode, _palette(), "BMP")),
        "one-bit.bmp": ok(partial(encode, _one_bit(), "BMP"), (BLACK, WHITE, WHITE, BLACK)),
        "negative-height.bmp": ok(lambda: _bmp_rows(quarters(), -32)),
        "positive-height.bmp": ok(lambda: _bmp_rows(quarters()[::-1], 32)),
        # TIFF
        "grey-16-bit.tiff": greys(lambda: encode(Image.fromarray(_sixteen()), "TIFF")),
        "rgb-16-bit.tiff": ok(_sixteen_tiff_rgb),
        "grey-float.tiff": greys(
            lambda: encode(Image.fromarray(quarters(GREYS)[..., 0].astype(np.float32)), "TIFF")
        ),
        "one-bit.tiff": ok(partial(encode, _one_bit(), "TIFF"), (BLACK, WHITE, WHITE, BLACK)),
        "one-bit-fax.tiff": ok(
            partial(encode, _one_bit(), "TIFF", compression="group4"), (BLACK, WHITE, WHITE, BLACK)
        ),
        "palette.tiff": ok(partial(encode, _palette(), "TIFF")),
        "cmyk.tiff": ok(lambda: encode(_cmyk(), "TIFF"), _CMYK_SEEN, 1),
        "alpha-nothing.tiff": ok(lambda: encode(_with_alpha(0), "TIFF"), flat(WHITE)),
        "multi-page.tiff": ok(partial(_animated, "TIFF")),
        "jpeg-inside.tiff": ok(partial(encode, rgb(), "TIFF", compression="jpeg", quality=95), tolerance=2 * LOSSY),
        "big-tiff.tiff": ok(partial(encode, rgb(), "TIFF", big_tiff=True)),
    }  # fmt: skip
    for compression in ("packbits", "tiff_lzw", "tiff_adobe_deflate"):
        found[f"{compression.removeprefix('tiff_').replace('_', '-')}.tiff"] = ok(
            partial(encode, rgb(), "TIFF", compression=compression)
        )
    return found


def _interlaced() -> bytes:
    """Adam7, which Pillow does not write: seven smaller images, one after another."""
    pixels = quarters()
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    lines = b"".join(
        b"\0" + row.tobytes() for top, left, down, right in passes for row in pixels[top::down, left::right]
    )
    data = png(48, 32, zlib.compress(lines))
    header = data[16:28] + b"\x01"  # the last byte of IHDR: interlaced
    return data[:8] + png_chunk(b"IHDR", header) + data[33:]
