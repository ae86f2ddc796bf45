"""HEIC and AVIF are read, and a format without a reader is named, with what to do."""

import importlib.machinery
import io
from collections.abc import Callable

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from detector.common.errors import FormatError, ImageError
from detector.runtime.decoding import readers
from detector.runtime.images import decode_image, frame_size
from tests.detector.runtime.decoding.test_orientation import STORED, UPRIGHT
from tests.support.encoded import XMP, encode
from tests.support.faults.corpus.images import jpeg, png_chunk

pillow_heif.register_heif_opener()
PHOTOGRAPH = Image.fromarray(STORED)


def turned(kind: str, orientation: int, xmp: int = 1) -> bytes:
    """A file whose container says the orientation (irot, imir), and its EXIF block as well."""
    exif = Image.Exif()
    exif[274] = orientation
    return encode(PHOTOGRAPH, kind, quality=95, exif=exif.tobytes(), xmp=XMP % xmp)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_container_turns_an_image_once(kind: str, orientation: int) -> None:
    data = turned(kind, orientation, xmp=1 if orientation == 1 else 8)  # HEIC's writer would follow XMP alone
    assert orientation == 1 or b"irot" in data
    found = decode_image(data)
    assert found.shape == UPRIGHT[orientation].shape and frame_size(data) == found.shape[:2]
    assert np.abs(found.astype(int) - UPRIGHT[orientation]).mean() < 5


def test_exif_alone_does_not_turn_a_heic() -> None:
    """ISO/IEC 23008-12 gives the decision to the container. This writer leaves it out for an `Exif` object."""
    exif = Image.Exif()
    exif[274] = 6
    data = encode(PHOTOGRAPH, "HEIF", quality=95, exif=exif)
    assert b"irot" not in data and b"Exif" in data
    assert np.abs(decode_image(data).astype(int) - STORED).mean() < 5


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_modes(kind: str, mode: str) -> None:
    image = PHOTOGRAPH.convert(mode)
    if mode == "RGBA":
        image.putalpha(0)
    expected = np.full_like(STORED, 255) if mode == "RGBA" else np.asarray(image.convert("RGB"))
    assert np.abs(decode_image(encode(image, kind, quality=95)).astype(int) - expected).mean() < 5


def test_a_heic_of_10_bits() -> None:
    samples = STORED.astype(np.uint16) * 257
    data = io.BytesIO()
    pillow_heif.encode("RGB;16", (64, 40), samples.tobytes(), data, quality=-1, chroma=444, matrix_coefficients=0)
    assert np.abs(decode_image(data.getvalue()).astype(int) - STORED).max() <= 1


@pytest.mark.parametrize(("kind", "brand"), [("HEIF", b"mif1"), ("AVIF", b"mif1")])
def test_the_compatible_brands_count(kind: str, brand: bytes) -> None:
    data = encode(PHOTOGRAPH, kind, quality=95)
    assert decode_image(data[:8] + brand + data[12:]).shape == (40, 64, 3)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_a_truncated_file_is_unreadable(kind: str) -> None:
    data = encode(PHOTOGRAPH, kind)
    for length in (30, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(ImageError) as caught:
            decode_image(data[:length])
        assert caught.value.status == "unreadable"


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_the_limit_counts_pixels_before_decoding(kind: str) -> None:
    data = turned(kind, 6)
    assert decode_image(data, 40 * 64).shape == (64, 40, 3)
    for read in (frame_size, decode_image):
        with pytest.raises(ImageError) as caught:
            read(data, 40 * 64 - 1)
        assert caught.value.status == "too_large"


@pytest.fixture
def no_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    find: Callable[[str], importlib.machinery.ModuleSpec | None] = readers.find_spec
    monkeypatch.setattr(readers, "find_spec", lambda name: None if name == "pillow_heif" else find(name))
    monkeypatch.setattr(readers.features, "check", lambda name: False)


@pytest.mark.usefixtures("no_readers")
def test_without_its_reader_a_format_is_named_with_the_remedy() -> None:
    with pytest.raises(FormatError, match=r"HEIC: install the extra: pip install '\.\[heif\]'") as caught:
        decode_image(encode(PHOTOGRAPH, "HEIF"))
    assert caught.value.status == "unreadable"
    with pytest.raises(FormatError, match=r"AVIF: install Pillow 11\.3 or later"):
        frame_size(encode(PHOTOGRAPH, "AVIF"))
    assert list(readers.missing_readers(["avif", "heic", "jpg", "hif"])) == ["avif", "heic", "hif"]


def test_nothing_is_missing_here() -> None:
    assert readers.missing_readers(["avif", "heic", "heif", "hif", "jpg", "jxl"]) == {}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\xff\x0a" + bytes(50), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50), "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(50), "JPEG 2000"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(50), "a camera's raw format"),
        (b"8BPS\0\1" + bytes(50), "Photoshop"),
        (b"%PDF-1.7\n", "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?><!-- a drawing -->\n<svg width='9' height='9'/>", "SVG"),
        (b"P5\n2 2\n255\n0000", "PGM"),
    ],
)
def test_other_formats_are_named(data: bytes, name: str) -> None:
    with pytest.raises(FormatError, match=f"{name}: convert it to JPEG or PNG"):
        decode_image(data)


@pytest.mark.parametrize(
    "data", [b"hello", b"<?xml version='1.0'?><Error/>", bytes(100), jpeg()[20:], png_chunk(b"IHDR", bytes(13))]
)
def test_what_is_no_image_is_not_named(data: bytes) -> None:
    with pytest.raises(ImageError, match="not an image") as caught:
        decode_image(data)
    assert not isinstance(caught.value, FormatError)
