"""No image is lost for bytes that are no pixels, and none is read whose pixels are not all there."""

import io
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.common.errors import ImageError
from detector.runtime import images
from detector.runtime.images import decode_image, frame_size
from tests.support.encoded import encode
from tests.support.faults.corpus.bombs import zlib_of_zeros
from tests.support.faults.corpus.images import png_chunk

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (56, 72, 3)).astype(np.uint8))
SMOOTH = NOISE.resize((200, 150), Image.Resampling.BICUBIC)
PNG = encode(NOISE, "PNG")
HEADS = {b"iCCP": b"profile\0\0", b"zTXt": b"Comment\0\0", b"iTXt": b"Comment\0\1\0\0\0", b"tEXt": b"Comment\0"}
ROOT = Path(__file__).parents[4]


def with_chunk(chunk: bytes, place: int = 33) -> bytes:
    """The PNG with a chunk after IHDR, or before IEND for place -12."""
    return PNG[:place] + chunk + PNG[place:]


def is_readable(data: bytes) -> bool:
    try:
        decode_image(data)
    except ImageError as error:
        assert error.status == "unreadable"
        return False
    return True


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("place", [33, -12], ids=["before", "after"])
def test_a_png_with_5_mb_of_profile_or_text_is_read(kind: bytes, place: int) -> None:
    content = np.random.default_rng(1).integers(1, 99, 5 * 2**20).astype(np.uint8).tobytes()
    packed = content if kind == b"tEXt" else zlib.compress(content, 1)
    np.testing.assert_array_equal(decode_image(with_chunk(png_chunk(kind, HEADS[kind] + packed), place)), NOISE)


def test_a_png_with_70_mb_of_text_in_many_chunks_is_read() -> None:
    chunks = b"".join(png_chunk(b"tEXt", b"%d\0" % number + b"x" * 2**20) for number in range(70))
    np.testing.assert_array_equal(decode_image(with_chunk(chunks)), NOISE)


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"iCCP", b"profile\0\7unknown"),
        png_chunk(b"zTXt", b"Comment\0\7unknown"),
        png_chunk(b"gAMA", b""),
        png_chunk(b"pHYs", b"\0"),
        png_chunk(b"acTL", b"\0"),
        png_chunk(b"tEXt", b"Comment\0text")[:-1] + b"?",
        png_chunk(b"eXIf", b"II*\0")[:-1] + b"?",
        png_chunk(b"tRNS", b"\0\0\0\0\0\0")[:-1] + b"?",
    ],
    ids=lambda chunk: chunk[4:8].decode(),
)
def test_a_damaged_ancillary_chunk_does_not_cost_the_image(chunk: bytes) -> None:
    np.testing.assert_array_equal(decode_image(with_chunk(chunk)), NOISE)


def test_damage_after_the_pixels_does_not_cost_the_image() -> None:
    """In a text, a second frame or IEND; pixels that are cut or overwritten do."""
    animated = encode(NOISE, "PNG", save_all=True, append_images=[NOISE.rotate(90)])
    for data, end in ((PNG, len(PNG) - 12), (animated, animated.index(b"fcTL", animated.index(b"IDAT")) - 4)):
        for rest in (b"", b"\xff", b"\x7f\xff\xff\xfffdAT" + bytes(20), bytes(30), b"\0\0\0\4tEXt"):
            np.testing.assert_array_equal(decode_image(data[:end] + rest), NOISE)
        assert not is_readable(data[: end - 3000]) and not is_readable(data[: end - 3000] + bytes(3000))


# Prints the most memory in use, MB, before and after; a process of its own, because the peak never falls.
_PEAK = """
import resource
from detector.runtime import images
from detector.runtime.images import decode_image
from tests.detector.runtime.decoding.test_repairs import bombs, PNG
decode_image(PNG)
made = bombs()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
for data in made:
    decode_image(data)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def bombs() -> list[bytes]:
    """PNG files with a chunk that unpacks to 1.2 GB, and EXIF as text is among them."""
    packed = zlib_of_zeros(1200 * 2**20)
    heads = [
        *((kind, head) for kind, head in HEADS.items() if kind != b"tEXt"),
        (b"zTXt", b"Raw profile type exif\0\0"),
    ]
    return [with_chunk(png_chunk(kind, head + packed), place) for kind, head in heads for place in (33, -12)]


def test_a_bomb_of_text_is_not_unpacked() -> None:
    done = subprocess.run([sys.executable, "-c", _PEAK], cwd=ROOT, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after - before < 30


JPEGS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "optimised": {"optimize": True, "subsampling": 0},
    "restarts": {"restart_marker_rows": 1},
    "many-restarts": {"restart_marker_blocks": 2},
    "progressive-restarts": {"progressive": True, "restart_marker_rows": 1},
}


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_a_jpeg_without_its_end_marker_is_read(options: dict[str, object], mode: str) -> None:
    data = encode(SMOOTH.convert(mode), "JPEG", **options)
    whole = decode_image(data)
    for cut in (data[:-1], data[:-2], data[:-2] + bytes(300), data[:-1] + bytes(300)):
        assert frame_size(cut) == (150, 200)
        np.testing.assert_array_equal(decode_image(cut), whole)


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_a_truncated_jpeg_is_unreadable(options: dict[str, object]) -> None:
    """Cut anywhere in its data, at every marker, and filled up with zeros or not."""
    data = encode(SMOOTH, "JPEG", **options)
    start = data.index(b"\xff\xda")
    markers = [place for place in range(start, len(data) - 2) if data[place] == 0xFF and data[place + 1] != 0]
    places = {*range(start, len(data) - 12, 97), *markers, *(place + 2 for place in markers)} - {len(data) - 2}
    read = [place for place in sorted(places) if is_readable(data[:place]) or is_readable(data[:place] + bytes(4096))]
    assert not read


def test_a_progressive_jpeg_without_its_last_scans_is_unreadable() -> None:
    data = encode(SMOOTH, "JPEG", progressive=True)
    last_scan = data.rindex(b"\xff\xda")
    tables = data.rindex(b"\xff\xc4", 0, last_scan)
    assert not is_readable(data[:tables]) and not is_readable(data[:last_scan])
    # With an end marker, it is a whole file of lower quality, as its writer may have meant it.
    assert is_readable(data[:tables] + b"\xff\xd9")


def test_a_second_image_that_is_cut_does_not_cost_the_first() -> None:
    data = encode(SMOOTH, "MPO", save_all=True, append_images=[SMOOTH.rotate(90)])
    np.testing.assert_array_equal(decode_image(data[:-700]), decode_image(data))
    first, second = encode(SMOOTH, "JPEG"), encode(SMOOTH, "JPEG", progressive=True)
    np.testing.assert_array_equal(decode_image(first + second[: len(second) // 2]), decode_image(first))


def test_a_video_behind_a_jpeg_does_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Phones append one; it holds markers of any kind, and makes no second decoding."""
    data = encode(SMOOTH, "JPEG")
    expected = decode_image(data)
    decodings = []
    decode = images.open_image
    monkeypatch.setattr(images, "open_image", lambda data: decodings.append(1) or decode(data))
    for trailer in (b"\xff\xda", b"\xff\xd9\xff\xda", b"\xff\xd8\xff\xe0", NOISE.tobytes()):
        np.testing.assert_array_equal(decode_image(data + b"ftypmp42" + trailer), expected)
    assert len(decodings) == 4


@pytest.mark.parametrize(("kind", "trailer"), [("PNG", 16), ("GIF", 2)])
def test_a_missing_trailer_does_not_cost_the_image(kind: str, trailer: int) -> None:
    data = encode(NOISE, kind)
    for missing in range(1, trailer + 1):
        np.testing.assert_array_equal(decode_image(data[:-missing]), decode_image(data))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG"])
def test_bytes_after_the_end_do_not_cost_the_image(kind: str) -> None:
    data = encode(NOISE, kind)
    for padding in (b"\0", bytes(511), b"\n", bytes(range(256))):
        np.testing.assert_array_equal(decode_image(data + padding), decode_image(data))


def test_padding_that_is_missing_does_not_cost_the_image() -> None:
    bmp = encode(NOISE.crop((0, 0, 71, 56)), "BMP")
    np.testing.assert_array_equal(decode_image(bmp[:-3]), decode_image(bmp))
    assert not is_readable(bmp[:-4])
    webp = next(data for width in range(40, 72) if (data := _webp(width))[-1] == 0)
    odd = webp[:16] + (int.from_bytes(webp[16:20], "little") - 1).to_bytes(4, "little") + webp[20:]
    np.testing.assert_array_equal(decode_image(odd), decode_image(webp))
    np.testing.assert_array_equal(decode_image(odd[:-1]), decode_image(webp))
    assert not is_readable(odd[:-2]) and not is_readable(webp[:-1])


def _webp(width: int) -> bytes:
    return encode(NOISE.crop((0, 0, width, 56)), "WEBP", quality=80)


def test_ordinary_images_have_the_pixels_that_pillow_gives() -> None:
    for kind, options in (
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "quality": 30}),
        ("PNG", {}),
        ("GIF", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ):
        data = encode(SMOOTH, kind, **options)
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(decode_image(data), np.asarray(image.convert("RGB")))
