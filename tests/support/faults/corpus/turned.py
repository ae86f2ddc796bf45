"""Make images with the eight EXIF orientations, and with EXIF blocks that are damaged."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

from PIL import Image

from tests.support.faults.corpus.images import LOSSY, Hostile, after_soi, encode, jpeg, jpeg_segment, ok, rgb

# What turns the upright image into the stored one (EXIF 2.32, tag 0x0112). A viewer must do the inverse.
_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
_FORMATS: dict[str, tuple[str, dict[str, object], int]] = {
    "jpg": ("JPEG", {"quality": 95, "subsampling": 0}, LOSSY),
    "png": ("PNG", {}, 0),
    "webp": ("WEBP", {"lossless": True}, 0),
    "tiff": ("TIFF", {}, 0),
}


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _turned(orientation: int, format: str, options: dict[str, object]) -> bytes:
    turn = _STORED[orientation]
    stored = rgb() if turn is None else rgb().transpose(turn)
    return encode(stored, format, exif=_exif(orientation), **options)


def _ifd(*entries: tuple[int, int, int, int], order: str = "<") -> bytes:
    """An EXIF block with one directory: (tag, type, count, value or offset) each."""
    packed = b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(f"{order}I", 8) + struct.pack(f"{order}H", len(entries)) + packed + bytes(4)


def _with_exif(block: bytes) -> bytes:
    return after_soi(jpeg(), jpeg_segment(0xE1, b"Exif\0\0" + block))


# An orientation that cannot be read leaves the image as it is stored.
_DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "no-tiff-header": b"\x00" * 30,
    "random": bytes((i * 37 + 11) % 256 for i in range(400)),
    "cut": _ifd((0x0112, 3, 1, 6))[:14],
    "far-offset": b"II*\0" + struct.pack("<I", 0xFFFFFFF0),
    "ring": b"II*\0" + struct.pack("<IH", 8, 1) + struct.pack("<HHII", 0x010F, 2, 4, 0) + struct.pack("<I", 8),
    "65535-entries": b"II*\0" + struct.pack("<IH", 8, 65_535) + bytes(40),
    "orientation-0": _ifd((0x0112, 3, 1, 0)),
    "orientation-9": _ifd((0x0112, 3, 1, 9)),
    "orientation-65535": _ifd((0x0112, 3, 1, 65_535)),
    "orientation-of-4-billion-values": _ifd((0x0112, 3, 0xFFFFFFFF, 8)),
    "orientation-as-text": _ifd((0x0112, 2, 4, int.from_bytes(b"six\0", "little"))),
    "orientation-as-fraction": _ifd((0x0112, 5, 1, 26)),
    "orientation-of-unknown-type": _ifd((0x0112, 99, 1, 6)),
    "size-of-4-billion": _ifd((0x0100, 4, 1, 0xFFFFFFFF), (0x0101, 4, 1, 0xFFFFFFFF), (0xA002, 4, 1, 0xFFFFFFFF)),
    "maker-note-of-4-gigabytes": _ifd((0x927C, 7, 0xFFFFFFFF, 26)),
    "thumbnail-beyond-the-end": _ifd((0x0201, 4, 1, 0x7FFFFFFF), (0x0202, 4, 1, 0x7FFFFFFF)),
}


def turned() -> dict[str, Hostile]:
    """Return the files by name."""
    found = {}
    for suffix, (format, options, tolerance) in _FORMATS.items():
        for orientation in _STORED:
            make = partial(_turned, orientation, format, options)
            found[f"orientation-{orientation}.{suffix}"] = ok(make, tolerance=tolerance)
    for name, block in _DAMAGED.items():
        found[f"exif-{name}.jpg"] = ok(partial(_with_exif, block), tolerance=LOSSY)
    found |= {
        "exif-big-endian.jpg": ok(_turned_big_endian, tolerance=LOSSY),
        # Other entries are damaged, the orientation is whole: it counts.
        "exif-damaged-elsewhere.jpg": ok(_turned_and_damaged, tolerance=LOSSY),
    }
    return found


def _stored_for_6() -> Callable[[bytes], bytes]:
    data = jpeg(rgb().transpose(Image.Transpose.ROTATE_90))
    return lambda block: after_soi(data, jpeg_segment(0xE1, b"Exif\0\0" + block))


def _turned_big_endian() -> bytes:
    return _stored_for_6()(_ifd((0x0112, 3, 1, 6 << 16), order=">"))


def _turned_and_damaged() -> bytes:
    return _stored_for_6()(_ifd((0x010F, 2, 0xFFFF, 0xFFFF0000), (0x0112, 3, 1, 6), (0x011A, 5, 1, 0xFFFFFF00)))
