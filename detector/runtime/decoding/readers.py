"""Opens an image with the reader of its format, which its first bytes show; names the formats that have none."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from PIL import Image, features

from detector.common.errors import FormatError

# Pillow knows about forty formats more, and recognises them by their bytes: for a file that looks like EPS it would
# start Ghostscript, which runs the program in the file.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")


@dataclass(frozen=True)
class _Optional:
    """A format whose reader may be missing. Its brands follow "ftyp" at the beginning of a file (ISO/IEC 14496-12)."""

    name: str
    pillow_name: str
    brands: frozenset[bytes]
    extensions: frozenset[str]
    is_installed: Callable[[], bool]
    remedy: str


_OPTIONAL = (
    _Optional(
        "AVIF",
        "AVIF",
        frozenset({b"avif", b"avis"}),
        frozenset({"avif"}),
        lambda: features.check("avif") is True,
        "install Pillow 11.3 or later from its wheels",
    ),
    _Optional(
        "HEIC",
        "HEIF",
        frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}),
        frozenset({"heic", "heics", "heif", "heifs", "hif"}),
        lambda: find_spec("pillow_heif") is not None,
        "install the extra: pip install '.[heif]' in the project's folder, or build the container with HEIF=1",
    ),
)
# The beginnings of other files that lie beside photographs.
_OTHERS = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"8BPS": "Photoshop",
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"P5\n": "PGM",
    b"P6\n": "PPM",
    b"II*\0\x10\0\0\0CR": "a camera's raw format",
    b"IIU\0": "a camera's raw format",
    b"IIRO": "a camera's raw format",
    b"FUJIFILMCCD-RAW": "a camera's raw format",
}


def open_image(data: bytes) -> Image.Image:
    """Return the image after its header is read.

    Raises FormatError for a known format without a reader, and otherwise what Pillow raises.
    """
    name = next((name for start, name in _OTHERS.items() if data.startswith(start)), None)
    if data[:1] == b"<" and b"<svg" in data[:1024]:
        name = "SVG"
    if name is not None:
        raise _unread(name, "convert it to JPEG or PNG")
    formats: tuple[str, ...] = _FORMATS
    for optional in _OPTIONAL:
        if optional.brands & _brands(data):
            if not optional.is_installed():
                raise _unread(optional.name, optional.remedy)
            register_heif()
            formats = (optional.pillow_name,)
            break
    return Image.open(io.BytesIO(data), formats=formats)


def _unread(name: str, remedy: str) -> FormatError:
    return FormatError(f"there is no reader for its format, {name}", remedy)


def missing_readers(extensions: Iterable[str]) -> dict[str, str]:
    """Return what to do before files with these extensions, in lower case, can be read, by extension."""
    return {
        extension: optional.remedy
        for extension in extensions
        for optional in _OPTIONAL
        if extension in optional.extensions and not optional.is_installed()
    }


def _brands(data: bytes) -> frozenset[bytes]:
    """Return the brand and the compatible brands of an ISO base media file; none for other files."""
    if data[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(data[:4], "big"), 1024)
    return frozenset(data[place : place + 4] for place in (8, *range(16, end, 4)))


@cache
def register_heif() -> None:
    """Let Pillow know the reader of HEIC, if it is installed."""
    if find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()
