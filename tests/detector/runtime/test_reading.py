"""Images are read no larger than they are looked at, and the frame stays exact."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.common.errors import ImageError
from detector.runtime.detector import open_detector, read_for
from detector.runtime.images import decode, decode_image, frame_size
from detector.runtime.reading import Reading, decoded_pixels, read_image
from detector.runtime.resizing import Method, resize_to
from tests.support.encoded import encode, with_orientations

METHODS: tuple[Method, ...] = ("bilinear", "bicubic", "linear", "cubic", "area")


def noise(height: int, width: int) -> Image.Image:
    """Noise whose grains have about ten pixels, so that it survives a smaller size."""
    grains = np.random.default_rng(height).integers(0, 256, (-(-height // 10), -(-width // 10), 3)).astype(np.uint8)
    return Image.fromarray(grains).resize((width, height), Image.Resampling.BICUBIC)


def ramps(height: int, width: int) -> Image.Image:
    """Red grows with the column, and green with the row: each colour tells its place."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    return Image.fromarray(
        np.stack([columns * 250 / width, rows * 250 / height, rows * 0 + 128], axis=2).round().astype(np.uint8)
    )


def resized(data: bytes, reading: Reading) -> np.ndarray:
    """All pixels of an image, resized as `reading` says."""
    assert reading.method is not None
    return resize_to(decode_image(data), reading.height, reading.width, reading.method)


def status(data: bytes, reading: Reading) -> str:
    try:
        read_image(data, reading)
    except ImageError as error:
        return error.status
    return "ok"


@pytest.mark.parametrize("method", METHODS)
def test_smaller_images_and_other_formats_have_all_their_pixels(method: Method) -> None:
    """Byte by byte: a JPEG less than four times as large as the reading on one side, and a PNG of any size."""
    for data, height, width in (
        (encode(noise(119, 200), "JPEG"), 60, 100),
        (encode(noise(119, 200), "JPEG"), 119, 200),
        (encode(noise(119, 200), "JPEG"), 30, 50),
        (encode(noise(50, 90), "JPEG", progressive=True), 100, 180),
        (encode(noise(400, 300), "PNG"), 40, 30),
    ):
        reading = Reading(height, width, method)
        read = read_image(data, reading)
        assert np.array_equal(read.pixels, resized(data, reading))
        assert (read.height, read.width) == frame_size(data)
    whole = read_image(encode(noise(400, 300), "JPEG"), Reading(400, 300, None))
    assert np.array_equal(whole.pixels, decode_image(encode(noise(400, 300), "JPEG")))


def test_a_jpeg_is_decoded_at_the_smallest_scale_that_is_large_enough_and_counted_so() -> None:
    data = encode(noise(375, 501), "JPEG")
    for least, shape in (
        ((188, 250), (375, 501)), ((187, 251), (375, 501)), ((187, 250), (188, 251)), ((94, 125), (188, 251)),
        ((93, 125), (94, 126)), ((46, 62), (47, 63)), ((1, 1), (47, 63)), ((900, 1), (375, 501)),
    ):  # fmt: skip
        assert decode(data, least).pixels.shape[:2] == shape
    for height, width in ((188, 250), (94, 125), (93, 126), (93, 125), (46, 63), (46, 62), (23, 31), (1, 1), (450, 1)):
        least = decode(data, (2 * height, 2 * width)).pixels
        assert decoded_pixels(data, 375, 501, Reading(height, width, "bilinear")) == least.shape[0] * least.shape[1]
    turned = with_orientations(noise(375, 501), "JPEG", 6, None)
    assert decode(turned, (250, 187)).pixels.shape[:2] == (251, 188)
    assert decode(turned, (187, 250)).pixels.shape[:2] == (501, 375)


def test_what_is_held_whole_is_counted_whole() -> None:
    """The coefficients of a progressive JPEG are in memory, and the pixels of a file without its end marker."""
    wanted = Reading(40, 60, "bilinear")
    jpeg = encode(noise(320, 480), "JPEG")
    for data in (jpeg[:-2], encode(noise(320, 480), "JPEG", progressive=True), encode(noise(320, 480), "PNG")):
        assert decoded_pixels(data, 320, 480, wanted) == 320 * 480
    assert decoded_pixels(jpeg, 320, 480, Reading(320, 480, None)) == 320 * 480
    assert decoded_pixels(jpeg, 320, 480, wanted) == 80 * 120


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_frame_is_exact_whatever_the_scale_and_the_orientation(orientation: int, method: Method) -> None:
    """Of 65 columns at 1/8 there are 9, which cover 72: taken for the frame, they would shift what lies at its end by
    a tenth of the image, 25 levels of the ramp."""
    data = with_orientations(ramps(97, 65), "JPEG", orientation, None, quality=100, subsampling=0)
    height, width = frame_size(data)
    reading = Reading(height * 4 // 65, width * 4 // 65, method)
    assert min(decode(data, (2 * reading.height, 2 * reading.width)).pixels.shape[:2]) == 9
    read = read_image(data, reading)
    assert read.pixels.shape == (reading.height, reading.width, 3) and (read.height, read.width) == (height, width)
    assert np.abs(read.pixels.astype(int) - resized(data, reading))[1:-1, 1:-1].max() <= 4


@pytest.mark.parametrize("method", METHODS)
def test_a_part_is_resized_as_if_it_were_cut_out(method: Method) -> None:
    pixels = np.asarray(noise(90, 120))
    part = resize_to(pixels, 35, 50, method, (10, 80), (20, 120))
    cut = resize_to(np.ascontiguousarray(pixels[10:80, 20:]), 35, 50, method)
    assert np.array_equal(part[2:-2, 2:-2], cut[2:-2, 2:-2])


def test_every_kind_of_jpeg_is_read_smaller() -> None:
    photo = noise(320, 480)
    two = io.BytesIO()
    photo.save(two, "MPO", save_all=True, append_images=[Image.new("RGB", (480, 320))])
    kinds = {
        "progressive": encode(photo, "JPEG", progressive=True),
        "grey": encode(photo.convert("L"), "JPEG"),
        "CMYK": encode(photo.convert("CMYK"), "JPEG"),
        "MPO": two.getvalue(),
        "a video behind it": encode(photo, "JPEG") + b"\0\0\0\x18ftypmp42" + bytes(500),
    }
    for name, data in kinds.items():
        for scale in (2, 4, 8):
            reading = Reading(320 // scale, 480 // scale, "bilinear")
            assert decode(data, (reading.height, reading.width)).pixels.shape == (320 // scale, 480 // scale, 3), name
            read = read_image(data, reading)
            assert (read.height, read.width) == (320, 480)
            assert np.abs(read.pixels.astype(int) - resized(data, reading)).mean() < 8, name


@pytest.mark.parametrize("progressive", [False, True])
def test_a_status_does_not_depend_on_the_scale(progressive: bool) -> None:
    """Files that are cut anywhere near their end, and files with damaged bytes anywhere."""
    data = encode(noise(121, 187), "JPEG", progressive=progressive, quality=90, restart_marker_blocks=20)
    small, full = Reading(7, 11, "bilinear"), Reading(121, 187, None)  # at 1/8, and at its own size
    chance = random.Random(0)
    files = [data[:-cut] for cut in (*range(1, 40), 200, len(data) // 2)]
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(chance.choice([1, 3, 20])):
            damaged[chance.randrange(2, len(data))] = chance.randrange(256)
        files.append(bytes(damaged))
    statuses = [status(file, small) for file in files]
    assert statuses == [status(file, full) for file in files]
    assert {"ok", "unreadable"} == set(statuses)


def test_a_jpeg_without_its_end_marker_has_all_its_pixels() -> None:
    """They are decoded anyhow, to see whether any is missing."""
    data = encode(noise(320, 480), "JPEG")[:-2]
    reading = Reading(40, 60, "bilinear")
    assert np.array_equal(read_image(data, reading).pixels, resized(data, reading))


def test_boxes_are_in_the_frame_of_the_whole_image(artifact: Path) -> None:
    # The graph always says (2, 3, 20, 24) and (8, 4, 40, 30) in the image that was resized to a longer side of 64.
    detector = open_detector(artifact)
    read = read_for(detector, encode(noise(400, 640), "JPEG"))
    assert read.pixels.shape == (40, 64, 3)
    (found,) = detector.detect([read], min_score=0.0).detections
    assert {tuple(box) for box in found.boxes.tolist()} == {(20, 30, 200, 240), (80, 40, 400, 300)}
