"""Boxes land on their objects, whatever the orientation of the file and the frame in which they were drawn."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from detector.common.errors import AnnotationError
from detector.data.checks import Repairs
from detector.data.formats.coco import read_coco
from detector.data.frames import FrameRules
from detector.runtime.images import decode_image, exif_orientation
from tests.support.voc import read_voc

WIDTH, HEIGHT = 60, 40  # as stored
BOX = (6, 4, 21, 13)  # of the object in the stored rows, xyxy
ALL = range(1, 9)


def stored_pixels(size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """A white object on black."""
    image = Image.new("RGB", size)
    image.paste("white", BOX)
    return image


def write(path: Path, orientation: int, size: tuple[int, int] = (WIDTH, HEIGHT), resized: float = 1) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = stored_pixels(size)
    image = image.resize((round(size[0] * resized), round(size[1] * resized)), Image.Resampling.BOX)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif)


def upright_box(path: Path) -> list[int]:
    """The object's box in the decoded image, from its pixels."""
    rows, columns = np.nonzero(decode_image(path.read_bytes())[..., 0] > 127)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def coco(folder: Path, *images: tuple[str, tuple[int, int] | None, Any]) -> tuple[Path, Path]:
    """Annotations of files in `folder`: each a name, the stated (width, height), and one box xyxy or several."""
    document: dict[str, Any] = {"categories": [{"id": 1, "name": "cat"}], "images": [], "annotations": []}
    for number, (name, size, boxes) in enumerate(images, start=1):
        stated = {} if size is None else {"width": size[0], "height": size[1]}
        document["images"].append({"id": number, "file_name": name} | stated)
        for x1, y1, x2, y2 in np.reshape(np.array(boxes, float), (-1, 4)).tolist():
            count = len(document["annotations"]) + 1
            box = [x1, y1, x2 - x1, y2 - y1]
            document["annotations"].append({"id": count, "image_id": number, "category_id": 1, "bbox": box})
    (folder / "d.json").write_text(json.dumps(document))
    return folder / "d.json", folder


@pytest.mark.parametrize("orientation", ALL)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_the_orientation_is_the_one_that_the_decoder_applies(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a.{suffix}"
    write(path, orientation)
    assert exif_orientation(path.read_bytes()) == orientation


def test_only_exif_has_an_orientation() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    buffer = io.BytesIO()
    stored_pixels().save(buffer, "JPEG", xmp=xmp)
    assert exif_orientation(buffer.getvalue()) == 1
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    text.add_text("note", "Exif")
    buffer = io.BytesIO()
    stored_pixels().save(buffer, "PNG", pnginfo=text)
    assert exif_orientation(buffer.getvalue()) == 1


@pytest.mark.parametrize("orientation", range(5, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_boxes_of_the_stored_frame_are_turned(tmp_path: Path, suffix: str, orientation: int) -> None:
    name = f"a.{suffix}"
    write(tmp_path / name, orientation)
    split = read_coco(*coco(tmp_path, (name, (WIDTH, HEIGHT), BOX)))
    (image,) = split.dataset.images
    assert (image.width, image.height) == (HEIGHT, WIDTH)
    assert image.boxes.tolist() == [upright_box(tmp_path / name)] and image.boxes.dtype == np.float32
    assert split.repairs == Repairs(mismatched=1, turned=1)
    assert split.repairs.notices() == [
        "the boxes of 1 image(s) were drawn in the stored frame, and were turned upright by EXIF"
    ]


@pytest.mark.parametrize("orientation", range(5, 9))
def test_boxes_of_the_upright_frame_stay(tmp_path: Path, orientation: int) -> None:
    write(tmp_path / "a.jpg", orientation)
    box = upright_box(tmp_path / "a.jpg")
    split = read_coco(*coco(tmp_path, ("a.jpg", (HEIGHT, WIDTH), box)))
    assert split.dataset.images[0].boxes.tolist() == [box] and split.repairs == Repairs()


@pytest.mark.parametrize("frame", ["auto", "upright", "stored"])
@pytest.mark.parametrize(
    ("orientation", "size", "stated"),
    [
        (2, (WIDTH, HEIGHT), True),
        (3, (WIDTH, HEIGHT), True),
        (4, (WIDTH, HEIGHT), True),
        (6, (50, 50), True),
        (8, (50, 51), False),
        (6, (WIDTH, HEIGHT), False),
        (3, (WIDTH, HEIGHT), False),
    ],
)
def test_where_the_size_does_not_tell_the_frame_it_is_said_which_is_taken(
    tmp_path: Path, orientation: int, size: tuple[int, int], stated: bool, frame: Any
) -> None:
    write(tmp_path / "a.jpg", orientation, size)
    write(tmp_path / "b.jpg", orientation, size)  # without boxes, so that nothing is taken for granted
    drawn = BOX if frame == "stored" else upright_box(tmp_path / "a.jpg")
    files = coco(tmp_path, ("a.jpg", size if stated else None, drawn), ("b.jpg", size if stated else None, ()))
    split = read_coco(*files, FrameRules(frame))
    assert split.dataset.images[0].boxes.tolist() == [upright_box(tmp_path / "a.jpg")]
    assert split.repairs.assumed_upright == (frame == "auto") and split.repairs.turned == (frame == "stored")
    if frame == "auto":
        (notice,) = split.repairs.notices()
        assert notice.startswith("1 image(s) have an EXIF orientation, and no stated size tells")
        assert "taken as the upright one; if it is the stored one, set fetch.boxes_frame to stored" in notice


def test_the_other_turned_files_of_a_source_decide_where_the_size_does_not(tmp_path: Path) -> None:
    for number in ALL:
        write(tmp_path / f"{number}.jpg", number)
    files = coco(tmp_path, *((f"{number}.jpg", (WIDTH, HEIGHT), BOX) for number in ALL))
    split = read_coco(*files)
    assert [image.boxes.tolist() for image in split.dataset.images] == [
        [upright_box(tmp_path / f"{number}.jpg")] for number in ALL
    ]
    assert split.repairs == Repairs(mismatched=4, turned=7, assumed_stored=3)
    assert "3 image(s)" in split.repairs.notices()[1] and "fetch.boxes_frame to upright" in split.repairs.notices()[1]


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("frame", ["stored", "upright"])
def test_a_resized_file_is_refused_or_scaled(tmp_path: Path, orientation: int, frame: str) -> None:
    write(tmp_path / "a.png", orientation, resized=3)
    size, box = (WIDTH, HEIGHT), np.array(BOX)
    if frame == "upright" and orientation == 6:
        size, box = (HEIGHT, WIDTH), np.array(upright_box(tmp_path / "a.png")) // 3
    files = coco(tmp_path, ("a.png", size, box))
    with pytest.raises(AnnotationError) as caught:
        read_coco(*files)
    real = (HEIGHT * 3, WIDTH * 3) if size == (HEIGHT, WIDTH) else (WIDTH * 3, HEIGHT * 3)
    assert str(caught.value) == (
        f"{tmp_path}/a.png: the annotation in d.json states {size[0]}x{size[1]} pixels, and the file has "
        f"{real[0]}x{real[1]}; the file was changed after the annotation: take the annotated file, or set "
        "fetch.scale_boxes to true if it was only resized"
    )
    split = read_coco(*files, FrameRules(scale=True))
    assert split.dataset.images[0].boxes.tolist() == [upright_box(tmp_path / "a.png")]
    assert split.repairs.scaled == 1 and "1 image(s) were scaled" in split.repairs.notices()[-1]


def test_a_file_of_another_ratio_is_refused_with_that_reason_or_stretched(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 1)
    files = coco(tmp_path, ("a.png", (WIDTH // 3, HEIGHT // 2), (2, 2, 7, 6.5)))
    with pytest.raises(AnnotationError, match="60x40, of another ratio: it was stretched, or cut or padded"):
        read_coco(*files)
    assert read_coco(*files, FrameRules(scale=True)).dataset.images[0].boxes.tolist() == [list(BOX)]


def test_an_image_without_boxes_may_state_any_size(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 1)
    split = read_coco(*coco(tmp_path, ("a.png", (7, 9), ())))
    assert split.dataset.images[0].boxes.shape == (0, 4) and split.repairs == Repairs(mismatched=1)


@pytest.mark.parametrize("scale", [False, True])
def test_a_size_that_was_rounded_differently_is_the_same_size(tmp_path: Path, scale: bool) -> None:
    write(tmp_path / "a.png", 1)
    split = read_coco(*coco(tmp_path, ("a.png", (WIDTH - 1, HEIGHT + 1), BOX)), FrameRules(scale=scale))
    assert split.dataset.images[0].boxes.tolist() == [list(BOX)] and split.repairs == Repairs(mismatched=1)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_that_lie_in_the_other_frame_than_the_size_says_are_refused(tmp_path: Path, orientation: int) -> None:
    """A tool that shows the upright image and writes the stored size."""
    write(tmp_path / "a.png", orientation)
    files = coco(tmp_path, ("a.png", (WIDTH, HEIGHT), [upright_box(tmp_path / "a.png"), (2, 45, 10, 60)]))
    with pytest.raises(AnnotationError, match=r"a\.png: by the size in d\.json its boxes should lie in the stored"):
        read_coco(*files)
    boxes = read_coco(*files, FrameRules("upright")).dataset.images[0].boxes.tolist()
    assert boxes == [upright_box(tmp_path / "a.png"), [2, 45, 10, 60]]
    files = coco(tmp_path, ("a.png", (HEIGHT, WIDTH), [BOX, (45, 2, 60, 10)]))
    with pytest.raises(AnnotationError, match="in the upright frame, 40x60, but they lie in the stored one, 60x40"):
        read_coco(*files)
    assert read_coco(*files, FrameRules("stored")).dataset.images[0].boxes.tolist()[0] == upright_box(
        tmp_path / "a.png"
    )


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_box_that_hangs_over_is_no_contradiction(tmp_path: Path, orientation: int) -> None:
    write(tmp_path / "a.png", orientation)
    height, width = decode_image((tmp_path / "a.png").read_bytes()).shape[:2]
    split = read_coco(*coco(tmp_path, ("a.png", (width, height), (width - 12, 4, width + 10, 12))))
    assert split.dataset.images[0].boxes.tolist() == [[width - 12, 4, width, 12]] and split.repairs.clipped == 1


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("by", [1, 2])
def test_a_file_that_lost_its_orientation_is_refused(tmp_path: Path, by: int, scale: bool) -> None:
    """It was annotated upright; a tool then removed the EXIF block, and perhaps resized it."""
    write(tmp_path / "a.png", 1)
    files = coco(tmp_path, ("a.png", (HEIGHT * by, WIDTH * by), BOX))
    with pytest.raises(AnnotationError, match="was turned after the annotation, or lost its EXIF orientation"):
        read_coco(*files, FrameRules(scale=scale))


@pytest.mark.parametrize(
    "boxes", [[(0, 0, 1, 1)], [(0.1, 0.2, 0.5, 0.9), (0.9, 0.9, 1.4, 1.5)], [(0, 0, 0, 0)], [(-0.01, 0.2, 0.5, 1.55)]]
)
def test_fractions_are_refused_with_that_reason(tmp_path: Path, boxes: list[tuple[float, ...]]) -> None:
    write(tmp_path / "a.png", 1)
    with pytest.raises(
        AnnotationError, match=r"d\.json: all boxes of a\.png lie within \[0, 1\.5\]: they are normalised"
    ):
        read_coco(*coco(tmp_path, ("a.png", (WIDTH, HEIGHT), boxes)))
    read_coco(*coco(tmp_path, ("a.png", (WIDTH, HEIGHT), [*boxes, BOX])))  # one box in pixels is enough


def test_one_image_with_fractions_is_refused_among_others(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write(tmp_path / name, 1)
    size = (WIDTH, HEIGHT)
    with pytest.raises(AnnotationError, match=r"d\.json: all boxes of b\.png lie within"):
        read_coco(*coco(tmp_path, ("a.png", size, BOX), ("b.png", size, (0.1, 0.2, 0.5, 0.9))))


def test_the_setting_decides_only_what_the_size_does_not_tell(tmp_path: Path) -> None:
    """An upright annotation of a turned file stays right when the setting speaks of others."""
    write(tmp_path / "a.png", 6)
    files = coco(tmp_path, ("a.png", (HEIGHT, WIDTH), BOX))
    upright = read_coco(*files).dataset.images[0].boxes
    np.testing.assert_array_equal(read_coco(*files, FrameRules(frame="stored")).dataset.images[0].boxes, upright)


def voc(root: Path, orientation: int, size: tuple[int, int] | None, box: tuple[float, ...]) -> Path:
    """A devkit with one image and one box, half-open; returns the image."""
    home = root / "VOC2007"
    write(home / "JPEGImages/a.jpg", orientation)
    corners = zip(("xmin", "ymin", "xmax", "ymax"), (box[0] + 1, box[1] + 1, box[2], box[3]), strict=True)
    stated = "" if size is None else f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    for folder, name, text in (
        ("ImageSets/Main", "train.txt", "a"),
        (
            "Annotations",
            "a.xml",
            f"<annotation>{stated}<object><name>dog</name><bndbox>"
            + "".join(f"<{tag}>{value}</{tag}>" for tag, value in corners)
            + "</bndbox></object></annotation>",
        ),
    ):
        (home / folder).mkdir(parents=True, exist_ok=True)
        (home / folder / name).write_text(text)
    return home / "JPEGImages/a.jpg"


def test_voc_has_the_same_rules(tmp_path: Path) -> None:
    path = voc(tmp_path, 6, (WIDTH, HEIGHT), BOX)
    split = read_voc([tmp_path], "train")
    assert split.dataset.images[0].boxes.tolist() == [upright_box(path)]
    assert split.repairs == Repairs(mismatched=1, turned=1)
    voc(tmp_path, 6, (HEIGHT, WIDTH), tuple(upright_box(path)))
    assert read_voc([tmp_path], "train").dataset.images[0].boxes.tolist() == [upright_box(path)]
    voc(tmp_path, 3, None, BOX)
    assert read_voc([tmp_path], "train").repairs == Repairs(assumed_upright=1)
    voc(tmp_path, 1, (WIDTH * 2, HEIGHT * 2), BOX)
    with pytest.raises(AnnotationError, match=r"a\.jpg: the annotation in train states 120x80 pixels"):
        read_voc([tmp_path], "train")
    voc(tmp_path, 1, (WIDTH, HEIGHT), (-0.9, -0.8, 0.5, 0.6))  # written as 0.1, 0.2, 0.5, 0.6
    with pytest.raises(AnnotationError, match=r"train: the annotations: all boxes of a\.jpg lie within"):
        read_voc([tmp_path], "train")
    voc(tmp_path, 1, (WIDTH, HEIGHT), (0, 0, 2, 2))
    read_voc([tmp_path], "train")
