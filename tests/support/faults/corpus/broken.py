"""Files that are not images, or not whole ones."""

from __future__ import annotations

import gzip
import struct
import zipfile
import zlib
from functools import partial
from io import BytesIO

import numpy as np
from PIL import Image

from tests.support.faults.corpus.images import (
    LOSSY,
    Hostile,
    bmp,
    encode,
    gif,
    jpeg,
    ok,
    png,
    png_chunk,
    quarters,
    rgb,
    start_of_frame,
    unreadable,
    with_jpeg_size,
)


def _noise(width: int = 96, height: int = 64) -> Image.Image:
    """Return noise, which does not compress: a share of the file is then a share of the image."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def _cut(format: str, share: float, **options: object) -> bytes:
    data = encode(_noise(), format, **options)
    return data[: int(len(data) * share)]


def _random(count: int) -> bytes:
    return np.random.default_rng(1).bytes(count)


def _flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def _png_with_bad_checksum(kind: bytes) -> bytes:
    data = encode(rgb(), "PNG")
    place = data.index(kind)
    length = int.from_bytes(data[place - 4 : place], "big")
    return _flip(data, place + 4 + length)


def _scanlines(width: int = 48, height: int = 32) -> bytes:
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in quarters(width=width, height=height)))


def _zip() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.jpg"), jpeg())  # ZipInfo alone has a fixed date
    return buffer.getvalue()


def _isobmff(brand: bytes) -> bytes:
    """The first box of a HEIC file, an MP4, ...: what cameras and phones write under any name."""
    return struct.pack(">I", 24) + b"ftyp" + brand + b"\0\0\0\0" + b"mif1" + brand + _random(200)


def _tiff_with_far_offset() -> bytes:
    return b"II*\0" + struct.pack("<I", 0xFFFFFF00) + b"\0" * 64


def _tiff_that_points_to_itself() -> bytes:
    """Its first directory names itself as the next one."""
    entry = struct.pack("<HHII", 256, 3, 1, 8)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1) + entry + struct.pack("<I", 8)


def _webp_with_lying_length() -> bytes:
    data = encode(rgb(), "WEBP", lossless=True)
    return data[:4] + struct.pack("<I", 0x7FFFFFFF) + data[8:]


TEXTS: dict[str, bytes] = {
    "text": b"The bucket is being moved, please come back tomorrow.\n",
    "html": b"<!doctype html><html><head><title>403 Forbidden</title></head><body>nginx</body></html>",
    "xml": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
    "json": b'{"error": "rate limited"}',
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
    "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
    "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n",
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "one-byte": b"\xff",
    "newline": b"\n",
    "soi-only": b"\xff\xd8",
    "soi-eoi": b"\xff\xd8\xff\xd9",
    "jfif-only": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00",
    "endless-markers": b"\xff\xd8" + b"\xff" * 4096,
}


def _others() -> dict[str, Hostile]:
    """Other formats than the job's own, under one of its extensions."""
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 32\n%%EndComments\nshowpage\n"
    return {
        "other-postscript.jpg": unreadable(lambda: postscript),
        "other-ico.jpg": unreadable(partial(encode, rgb(), "ICO", sizes=[(16, 16)])),
        "other-icns.jpg": unreadable(lambda: b"icns" + struct.pack(">I", 16) + b"ic07" + struct.pack(">I", 8)),
        "other-psd.jpg": unreadable(
            lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 32, 48, 8, 3) + bytes(99)
        ),
        "other-pcx.jpg": unreadable(partial(encode, rgb(), "PCX")),
        "other-ppm.jpg": unreadable(partial(encode, rgb(), "PPM")),
        "other-tga.jpg": unreadable(partial(encode, rgb(), "TGA")),
        "other-jpeg2000.jpg": unreadable(lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + _random(200)),
        "other-heic.jpg": unreadable(partial(_isobmff, b"heic")),
        "other-avif.jpg": unreadable(partial(_isobmff, b"avif")),
        "other-mp4.jpg": unreadable(partial(_isobmff, b"isom")),
        "other-gzip.jpg": unreadable(lambda: gzip.compress(jpeg(), mtime=0)),
        "other-zip.jpg": unreadable(_zip),
    }


def broken() -> dict[str, Hostile]:
    """Return the files by name."""
    found = {f"{name}.jpg": unreadable(partial(bytes, data)) for name, data in TEXTS.items()}
    found |= _others()
    found["empty.jpg"] = Hostile(bytes, "empty")
    found["empty.png"] = Hostile(bytes, "empty")
    found["random.jpg"] = unreadable(partial(_random, 5000))
    found["random-after-soi.jpg"] = unreadable(lambda: b"\xff\xd8\xff" + _random(5000))
    for share in (0.01, 0.1, 0.5, 0.9):
        percent = f"{share:.0%}".rstrip("%")
        for format, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("GIF", "gif"), ("TIFF", "tiff"), ("BMP", "bmp")):
            found[f"cut-{percent}.{suffix}"] = unreadable(partial(_cut, format, share))
        found[f"cut-{percent}.webp"] = unreadable(partial(_cut, "WEBP", share, lossless=True))
        found[f"cut-{percent}-progressive.jpg"] = unreadable(partial(_cut, "JPEG", share, progressive=True))
    found |= {
        "cut-before-scan.jpg": unreadable(lambda: jpeg()[: jpeg().index(b"\xff\xda")]),
        "no-frame-header.jpg": unreadable(_without_frame_header),
        # The frames of a Motion JPEG have none: the standard's own tables are meant.
        "no-huffman-tables.jpg": ok(lambda: jpeg().replace(b"\xff\xc4", b"\xff\xe5"), tolerance=LOSSY),
        "no-quantisation.jpg": unreadable(lambda: jpeg().replace(b"\xff\xdb", b"\xff\xe5")),
        "zero-width.jpg": unreadable(lambda: with_jpeg_size(jpeg(), 0, 32)),
        "zero-height.jpg": unreadable(lambda: with_jpeg_size(jpeg(), 48, 0)),
        "seven-components.jpg": unreadable(_seven_components),
        # Viewers show the pixels that are there, and fill up the lower half of the image.
        "lying-height.jpg": ok(lambda: with_jpeg_size(jpeg(), 48, 64), None, size=(48, 64)),
        # One damaged byte in the data of a scan costs some blocks, not the image.
        "damaged-scan.jpg": ok(lambda: _flip(jpeg(), len(jpeg()) - 40), None),
        "bad-checksum-of-header.png": unreadable(partial(_png_with_bad_checksum, b"IHDR")),
        # Pillow goes by the checksum of the data as they are when unpacked.
        "bad-checksum-of-data.png": ok(partial(_png_with_bad_checksum, b"IDAT")),
        "damaged-data.png": unreadable(lambda: png(48, 32, _flip(_scanlines(), len(_scanlines()) // 2))),
        "bad-checksum-when-unpacked.png": unreadable(lambda: png(48, 32, _flip(_scanlines(), len(_scanlines()) - 1))),
        "zero-size.png": unreadable(lambda: png(0, 0, zlib.compress(b""))),
        "zero-width.png": unreadable(lambda: png(0, 32, zlib.compress(bytes(32)))),
        "lying-width.png": unreadable(lambda: png(4800, 32, _scanlines())),
        # As with JPEG, the pixels that are there are shown, and black below them.
        "lying-height.png": ok(lambda: png(48, 3200, _scanlines()), None, size=(48, 3200)),
        "no-data.png": unreadable(lambda: png(48, 32, b"")),
        "data-is-no-zlib.png": unreadable(lambda: png(48, 32, _random(500))),
        "unknown-colour-type.png": unreadable(lambda: png(48, 32, _scanlines(), kind=5)),
        "unknown-depth.png": unreadable(lambda: png(48, 32, _scanlines(), depth=7)),
        "unknown-filter.png": unreadable(lambda: png(48, 32, zlib.compress((b"\x09" + bytes(144)) * 32))),
        "signature-only.png": unreadable(lambda: b"\x89PNG\r\n\x1a\n"),
        "chunk-of-4-gigabytes.png": unreadable(lambda: b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIHDR" + bytes(50)),
        "no-header.png": unreadable(lambda: b"\x89PNG\r\n\x1a\n" + png_chunk(b"IEND", b"")),
        "zero-size.gif": unreadable(partial(gif, 0, 0)),
        "header-only.gif": unreadable(lambda: b"GIF89a" + struct.pack("<HHBBB", 48, 32, 0, 0, 0)),
        "zero-size.bmp": unreadable(partial(bmp, 0, 0)),
        "no-pixels.bmp": unreadable(partial(bmp, 48, 32)),
        "unknown-depth.bmp": unreadable(partial(bmp, 48, 32, 13, bytes(9999))),
        "far-offset.tiff": unreadable(_tiff_with_far_offset),
        "ring-of-directories.tiff": unreadable(_tiff_that_points_to_itself),
        "header-only.tiff": unreadable(lambda: b"MM\0*\0\0\0\x08"),
        "lying-length.webp": unreadable(_webp_with_lying_length),
        "header-only.webp": unreadable(lambda: b"RIFF\x04\0\0\0WEBP"),
        # Every pixel is there.
        "no-end-marker.jpg": ok(lambda: jpeg()[:-2], tolerance=LOSSY),
        "no-end-marker-and-half-a-scan.jpg": unreadable(lambda: jpeg(_noise())[:-1500]),
    }  # fmt: skip
    return found


def _without_frame_header() -> bytes:
    data = jpeg()
    place = start_of_frame(data)
    length = 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return data[:place] + data[place + length :]


def _seven_components() -> bytes:
    data = jpeg()
    place = start_of_frame(data) + 9
    return data[:place] + b"\x07" + data[place + 1 :]
