"""A child gives what this process would give, needs little, and can open nothing."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.common.errors import FormatError, ImageError
from detector.runtime.images import MAX_PIXELS, frame_size
from detector.runtime.reading import Reading, read_image
from jobs.budget import Budget
from jobs.decoding.decoders import Decoders
from jobs.decoding.limits import FIXED_BYTES, memory_bytes
from tests.jobs.helpers import encoded
from tests.support.faults.corpus import corpus

# pytest resets the warning filters, among them the one that the decoder sets for itself.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    decoders = Decoders(Budget(MAX_PIXELS), 1)
    yield decoders
    decoders.close()


def _small(height: int, width: int) -> Reading:
    return Reading(20, 30, "linear")


def _whole(height: int, width: int) -> Reading:
    return Reading(height, width, None)


def _described(error: ImageError) -> tuple[object, ...]:
    return type(error), error.status, str(error), error.kind if isinstance(error, FormatError) else None


def _more() -> dict[str, bytes]:
    """Images that need modules which the corpus does not."""
    heic, lab = io.BytesIO(), io.BytesIO()
    import pillow_heif

    pillow_heif.from_pillow(Image.open(io.BytesIO(encoded(5, 70, 50)))).save(heic)
    Image.open(io.BytesIO(encoded(6))).convert("RGB").convert("LAB").save(lab, "TIFF")
    return {"heic": heic.getvalue(), "lab.tif": lab.getvalue()}


def test_a_child_reads_as_this_process_does(decoders: Decoders) -> None:
    """Also with limits, and without a file that it could open: same pixels, same errors with the same words."""
    images = {name: image.make() for name, image in corpus().items()} | _more()
    with decoders.read("first", encoded(1), _whole):
        (first,) = (child.number for child in decoders._idle)
    for number, (name, data) in enumerate(images.items()):
        reading = _small if number % 2 else _whole
        try:
            expected = read_image(data, reading(*frame_size(data)))
        except ImageError as error:
            with pytest.raises(ImageError) as caught, decoders.read(name, data, reading):
                pass
            assert _described(caught.value) == _described(error), name
        else:
            with decoders.read(name, data, reading) as (image, seconds):
                assert (image.height, image.width) == (expected.height, expected.width), name
                assert np.array_equal(image.pixels, expected.pixels) and seconds > 0, name
    assert [child.number for child in decoders._idle] == [first]  # no image has ended it


# Prints what a process can do that has become a child.
_CAN = """
import json, os, resource, socket, sys
from jobs.decoding import child, server
child.preload()
answer, theirs = socket.socketpair()
if os.fork() == 0:
    child._decode_one = None
    limits = child._Limits
    def tell():
        limits()
        can = []
        for name, attempt in (
            ("read", lambda: open("/etc/hostname")),
            ("connect", lambda: socket.socket(socket.AF_INET)),
            ("write", lambda: os.write(held, b"x")),
            ("start", lambda: os.pipe()),
        ):
            try:
                attempt()
                can.append(name)
            except OSError:
                pass
        names = sorted({name.partition(".")[0] for name in sys.modules})
        os.write(0, json.dumps([can, names, resource.getrlimit(resource.RLIMIT_CORE)]).encode())
        os._exit(0)
    child._Limits = tell
    answer.close()
    held = os.open(sys.argv[1], os.O_RDWR)
    child.serve(theirs)
theirs.close()
print(answer.makefile().read())
"""


def test_what_a_child_can_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-c", _CAN, str(tmp_path / "file")],
        cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    can, modules, core = json.loads(done.stdout)
    assert can == [] and core == [0, 0]
    assert (tmp_path / "file").read_bytes() == b""
    assert {"PIL", "numpy"} <= set(modules)
    assert not {"boto3", "botocore", "pydantic", "onnxruntime", "click", "multiprocessing", "asyncio"} & set(modules)


def test_the_limit_of_memory_follows_the_header() -> None:
    assert memory_bytes(0) == FIXED_BYTES
    assert memory_bytes(1000, 2_000_000) == FIXED_BYTES + 4_000 + 64_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
@pytest.mark.slow
def test_large_images_of_every_encoding_stay_below_the_limits(decoders: Decoders) -> None:
    """12 megapixels: of what needs the most memory for a pixel, nothing is refused, and no child ends."""
    random = np.random.default_rng(1)
    pixels = np.repeat(np.repeat(random.integers(0, 255, (375, 500, 3), np.uint8), 8, 0), 8, 1)
    rgb = Image.fromarray(pixels)
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    with decoders.read("first", encoded(1), _whole):
        (first,) = (child.number for child in decoders._idle)
    for name, image, options in (
        ("JPEG", rgb, {"progressive": True, "subsampling": 0, "quality": 95}),
        ("JPEG", rgb.convert("CMYK"), {}),
        ("PNG", rgb.convert("RGBA"), {"compress_level": 1}),
        ("PNG", deep, {"compress_level": 1}),
        ("TIFF", deep, {"compression": "tiff_lzw"}),
        ("TIFF", rgb.convert("RGBA"), {"compression": "tiff_deflate"}),
        ("TIFF", deep.convert("F").point(lambda value: value * (1 / 65536)), {}),
        ("GIF", rgb.convert("P"), {}),
        ("BMP", rgb.convert("RGBA"), {}),
        ("WEBP", rgb.convert("RGBA"), {"lossless": True, "method": 0, "quality": 0}),
        ("AVIF", rgb, {"subsampling": "4:4:4", "speed": 10, "quality": 90}),
    ):
        buffer = io.BytesIO()
        image.save(buffer, name, **options)
        with decoders.read(name, buffer.getvalue(), _small) as (read, _):
            assert (read.height, read.width) == (3000, 4000), name
        assert [child.number for child in decoders._idle] == [first], name
