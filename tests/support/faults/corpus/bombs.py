"""Small files with huge images. Their headers give them away, and they are refused before a pixel is allocated."""

from __future__ import annotations

import struct
import zlib
from functools import partial

from tests.support.faults.corpus.images import (
    BLACK,
    Hostile,
    bmp,
    encode,
    flat,
    gif,
    jpeg,
    ok,
    png,
    png_chunk,
    rgb,
    too_large,
    with_jpeg_size,
)

_MEBIBYTE = 2**20


def zlib_of_zeros(count: int) -> bytes:
    """`count` zero bytes, compressed; the compressor sees one MiB only, its blocks are repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(_MEBIBYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = zlib.compressobj(9, zlib.DEFLATED, -15)
    end = rest.compress(bytes(count % _MEBIBYTE)) + rest.flush()
    # Adler-32 of n zeros: the sum stays 1, and the sum of sums is n.
    return b"\x78\xda" + block * (count // _MEBIBYTE) + end + struct.pack(">HH", count % 65521, 1)


def _flat_png(side: int) -> bytes:
    """Whole and right: `side` x `side` pixels of one grey."""
    return png(side, side, zlib_of_zeros(side * (side + 1)), kind=0)


def _gif_with_large_frame(side: int) -> bytes:
    """A logical screen of 10 x 10, and a frame that is larger."""
    data = gif(side, side)
    return data[:6] + struct.pack("<HH", 10, 10) + data[10:]


def _tiff(width: int, height: int) -> bytes:
    fields = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1),
              (278, 4, height), (279, 4, 64)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in fields)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(fields)) + entries + bytes(68)


def _webp_canvas(width: int, height: int) -> bytes:
    """An extended header with a canvas of that size, and a frame of 48 x 32."""
    frame = encode(rgb(), "WEBP", lossless=True)[12:]
    canvas = bytes([0, 0, 0, 0]) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + canvas + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_lossless(side: int) -> bytes:
    """A lossless frame's header with that size (14 bits a side), and no pixels."""
    bits = (side - 1) | (side - 1) << 14
    data = b"\x2f" + struct.pack("<I", bits) + bytes(100)
    body = b"WEBP" + b"VP8L" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _text_bomb(kind: bytes) -> bytes:
    """An image with 200 MB of compressed text, or of a colour profile."""
    words = {b"zTXt": b"Comment\0\0", b"iCCP": b"profile\0\0", b"iTXt": b"Comment\0\1\0\0\0"}
    chunk = png_chunk(kind, words[kind] + zlib_of_zeros(200 * _MEBIBYTE))
    return png(48, 32, zlib.compress(bytes(145 * 32)), before=chunk)


def bombs() -> dict[str, Hostile]:
    """Return the files by name."""
    return {
        "bomb-20000.png": too_large(partial(_flat_png, 20_000)),
        "bomb-50000.png": too_large(lambda: png(50_000, 50_000, zlib.compress(bytes(100)))),
        "bomb-strip.png": too_large(lambda: png(2**31 - 1, 1, zlib.compress(bytes(100)))),
        "bomb-16-bit.png": too_large(lambda: png(60_000, 60_000, zlib.compress(bytes(100)), depth=16, kind=6)),
        "bomb.jpg": too_large(lambda: with_jpeg_size(jpeg(), 65_535, 65_535)),
        "bomb-progressive.jpg": too_large(lambda: with_jpeg_size(jpeg(progressive=True), 65_500, 65_500)),
        "bomb.gif": too_large(partial(gif, 50_000, 50_000)),
        "bomb-frame.gif": too_large(partial(_gif_with_large_frame, 60_000)),
        "bomb.bmp": too_large(partial(bmp, 50_000, 50_000)),
        "bomb-upside-down.bmp": too_large(partial(bmp, 50_000, -50_000)),
        "bomb-2147483647.bmp": too_large(partial(bmp, 2**31 - 1, 2**31 - 1)),
        "bomb.tiff": too_large(partial(_tiff, 50_000, 50_000)),
        "bomb-4294967295.tiff": too_large(partial(_tiff, 2**32 - 1, 2**32 - 1)),
        "bomb-canvas.webp": too_large(partial(_webp_canvas, 50_000, 50_000)),
        "bomb-lossless.webp": too_large(partial(_webp_lossless, 16_384)),
        # What is no pixel is not unpacked, and costs no pixel.
        "bomb-of-text.png": ok(partial(_text_bomb, b"zTXt"), flat(BLACK)),
        "bomb-of-international-text.png": ok(partial(_text_bomb, b"iTXt"), flat(BLACK)),
        "bomb-of-profile.png": ok(partial(_text_bomb, b"iCCP"), flat(BLACK)),
    }
