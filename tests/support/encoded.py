"""Encodes small images, with the metadata and the sample depths that image libraries do not write themselves."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return the bytes of a file."""
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def with_orientations(
    image: Image.Image, kind: str, exif: int | Image.Exif | None, xmp: int | None, **options: object
) -> bytes:
    """Return a file with an orientation in EXIF (in tag 274 of a TIFF), in XMP, in both or in none.

    exif: the orientation, or a block of other tags.
    """
    if kind == "TIFF":
        tags = {274: exif, 700: None if xmp is None else XMP % xmp}
        return encode(image, kind, tiffinfo={tag: value for tag, value in tags.items() if value is not None}, **options)
    if isinstance(exif, int):
        options["exif"] = Image.Exif()
        options["exif"][274] = exif
    elif exif is not None:
        options["exif"] = exif
    if xmp is not None and kind == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", (XMP % xmp).decode())
    elif xmp is not None:
        options["xmp"] = XMP % xmp
    return encode(image, kind, **options)


def packed_tiff(
    samples: NDArray[np.integer], bits: int, *, photometric: int = 1, tags: Mapping[int, int] | None = None
) -> bytes:
    """Return an uncompressed little-endian TIFF of unsigned grey samples (h, w) of any number of bits.

    photometric: 0 is WhiteIsZero, 1 is BlackIsZero. tags: others, as 16-bit numbers.
    """
    rows = b""
    for row in samples:
        text = "".join(format(int(value), f"0{bits}b") for value in row)
        text += "0" * (-len(text) % 8)  # each row begins with a whole byte
        rows += int(text, 2).to_bytes(len(text) // 8, "big")
    height, width = samples.shape
    values = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 277: 1, 278: height, **(tags or {})}
    longs = {273: 8 + 2 + 12 * (len(values) + 2) + 4, 279: len(rows)}
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, longs[tag])
        if tag in longs
        else struct.pack("<HHIHH", tag, 3, 1, values[tag], 0)
        for tag in sorted(values | longs)
    )
    return b"II*\0" + struct.pack("<IH", 8, len(values) + 2) + entries + bytes(4) + rows
