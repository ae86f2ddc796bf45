import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.common.errors import AnnotationError
from detector.data.archives import unpack
from detector.data.checks import Repairs
from detector.data.classes import VOC_CLASSES
from detector.data.formats.voc import state_folder, state_lists
from tests.support.voc import read_voc


def thing(name: str, box: tuple[object, ...], extra: str = "") -> str:
    corners = "".join(f"<{tag}>{v}</{tag}>" for tag, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name>{extra}<bndbox>{corners}</bndbox></object>"


def annotation(*things: str, width: int = 60, height: int = 40) -> str:
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>{size}{''.join(things)}</annotation>"


def jpeg(width: int = 60, height: int = 40) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 30)).save(buffer, "JPEG")
    return buffer.getvalue()


def devkit(root: Path, xml: dict[str, str], split: str = "train", year: str = "VOC2007") -> Path:
    home = root / "VOCdevkit" / year
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    for name, text in xml.items():
        (home / "JPEGImages" / f"{name}.jpg").write_bytes(jpeg())
        (home / "Annotations" / f"{name}.xml").write_text(text)
    (home / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in xml))
    return home


def parse(tmp_path: Path, text: str):
    (tmp_path / "a.xml").write_text(text)
    (tmp_path / "a.jpg").write_bytes(jpeg())
    stated = state_folder([tmp_path])
    (image,) = stated.dataset.images
    return replace(image, labels=[stated.dataset.classes[label] for label in image.labels])


def test_the_classes_are_the_canonical_twenty_in_order() -> None:
    assert len(VOC_CLASSES) == 20
    assert list(VOC_CLASSES) == sorted(VOC_CLASSES)


def test_one_based_inclusive_corners_become_half_open_edges(tmp_path: Path) -> None:
    found = parse(tmp_path, annotation(thing("dog", (1, 1, 1, 1)), thing("cat", (11, 6, 60, 40))))
    np.testing.assert_array_equal(found.boxes, np.array([[0, 0, 1, 1], [10, 5, 60, 40]], np.float32))
    assert found.boxes.dtype == np.float32
    assert found.labels == ["dog", "cat"]
    assert (found.width, found.height) == (60, 40)


def test_parts_are_not_objects_nor_boxes_of_their_object(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>"
    found = parse(tmp_path, annotation(thing("person", (11, 6, 60, 40), extra=part)))
    np.testing.assert_array_equal(found.boxes, [[10, 5, 60, 40]])


def test_difficult_is_read_and_may_be_absent(tmp_path: Path) -> None:
    flags = ["<difficult>1</difficult>", "<difficult>0</difficult>", ""]
    found = parse(tmp_path, annotation(*(thing("cow", (1, 1, 5, 5), extra=flag) for flag in flags)))
    assert found.ignore.tolist() == [True, False, False]


def test_fractions_are_kept(tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        parse(tmp_path, annotation(thing("cow", (1.5, 1, 5.25, 5)))).boxes, [[0.5, 0, 5.25, 5]]
    )


def test_no_objects_is_an_image_without_objects(tmp_path: Path) -> None:
    found = parse(tmp_path, annotation())
    assert found.boxes.shape == (0, 4)
    assert found.labels == [] and found.ignore.shape == (0,)


BOMB = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<annotation><filename>&b;</filename></annotation>"""
OUTSIDE = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "refused, it declares entities"),
        (OUTSIDE, "refused, it declares entities"),
        ("", "is not XML"),
        ("<annotation>", "is not XML"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "is not XML"),
        (annotation("<object><bndbox/></object>"), "an object has no <name>"),
        (annotation("<object><name>dog</name></object>"), "an object of class dog has no <bndbox>"),
        (annotation(thing("dog", (1, "one", 5, 5))), "<ymin> in <bndbox> must be a number, not 'one'"),
        (annotation(thing("dog", (1, 1, "nan", 5))), "<xmax> in <bndbox> must be a number"),
        (annotation("<object><name>dog</name><bndbox><xmin>1</xmin></bndbox></object>"), "<ymin> in <bndbox>"),
    ],
)
def test_bad_xml_is_refused_naming_file_and_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(AnnotationError) as caught:
        parse(tmp_path, text)
    assert str(tmp_path / "a.xml") in str(caught.value)
    assert reason in str(caught.value)


def test_a_split_is_read_in_order_with_its_repairs_counted(tmp_path: Path) -> None:
    home = devkit(
        tmp_path,
        {
            "b": annotation(),
            "a": annotation(
                thing("dog", (1, 1, 60, 40)),  # fits exactly
                thing("cat", (51, 31, 71, 41), "<difficult>1</difficult>"),  # hangs over: clipped
                thing("cow", (70, 1, 80, 5)),  # outside: dropped
                thing("bus", (9, 9, 8, 20)),  # half-open: no width, dropped
            ),
            "c": annotation(thing("sheep", (1, 1, 2, 2)), width=61),
        },
    )
    split = read_voc([tmp_path], "train")
    assert split.repairs == Repairs(clipped=1, dropped=2, mismatched=1)
    first, second, third = split.dataset.images
    assert [(i.id, i.file_name) for i in split.dataset.images] == [(1, "a.jpg"), (2, "b.jpg"), (3, "c.jpg")]
    np.testing.assert_array_equal(first.boxes, [[0, 0, 60, 40], [50, 30, 60, 40]])
    assert [split.dataset.classes[label] for label in first.labels] == ["dog", "cat"]
    assert first.ignore.tolist() == [False, True]
    assert not first.crowd.any()
    assert second.boxes.shape == (0, 4)
    assert (third.width, third.height) == (60, 40)  # what was decoded, not what was stated
    assert split.files["b.jpg"] == home / "JPEGImages" / "b.jpg"


def test_devkits_of_one_year_unpacked_apart_are_one(tmp_path: Path) -> None:
    devkit(tmp_path / "1", {"a": annotation(), "b": annotation()})
    devkit(tmp_path / "2", {})
    for inside, suffix in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        path = Path("VOCdevkit/VOC2007") / inside / f"b.{suffix}"
        (tmp_path / "1" / path).rename(tmp_path / "2" / path)
    split = read_voc([tmp_path / "1", tmp_path / "2"], "train")
    assert split.files["b.jpg"].is_relative_to(tmp_path / "2")


def test_two_years_are_joined(tmp_path: Path) -> None:
    devkit(tmp_path, {"a": annotation()}, year="VOC2007")
    devkit(tmp_path, {"2012_1": annotation()}, year="VOC2012")
    assert [i.file_name for i in read_voc([tmp_path], "train").dataset.images] == ["2012_1.jpg", "a.jpg"]
    devkit(tmp_path, {"a": annotation()}, year="VOC2012")
    with pytest.raises(AnnotationError, match="same name"):
        read_voc([tmp_path], "train")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no VOC devkit here"):
        read_voc([tmp_path], "train")
    home = devkit(tmp_path, {"a": annotation()})
    with pytest.raises(AnnotationError, match=r"no ImageSets/Main/val\.txt"):
        read_voc([tmp_path], "val")
    (home / "Annotations/a.xml").unlink()
    with pytest.raises(AnnotationError, match=r"a\.xml: listed in train\.txt but not found"):
        read_voc([tmp_path], "train")
    (home / "JPEGImages/a.jpg").unlink()
    with pytest.raises(AnnotationError, match=r"a\.jpg: listed in train\.txt but not found"):
        read_voc([tmp_path], "train")
    (home / "ImageSets/Main/train.txt").write_text("../../a 1\n")
    with pytest.raises(AnnotationError, match=r"'\.\./\.\./a' is not the name of an image"):
        read_voc([tmp_path], "train")


@pytest.mark.parametrize("content", [b"", b"not a picture", jpeg()[:400]])
def test_an_image_that_does_not_decode_is_named(tmp_path: Path, content: bytes) -> None:
    home = devkit(tmp_path, {"a": annotation()})
    (home / "JPEGImages/a.jpg").write_bytes(content)
    with pytest.raises(AnnotationError, match=r"JPEGImages/a\.jpg: the image does not decode"):
        read_voc([tmp_path], "train")


def test_the_real_archives(tmp_path: Path) -> None:
    """Counts of the PASCAL VOC 2007 extract that the benchmarks use."""
    folder = os.environ.get("BOXCAR_VOC_ARCHIVES")
    if not folder or not (Path(folder) / "voc2007s-test.tar").is_file():
        pytest.skip("BOXCAR_VOC_ARCHIVES does not name a folder with voc2007s-test.tar")
    unpack(Path(folder) / "voc2007s-test.tar", tmp_path)
    split = read_voc([tmp_path], "test")
    assert len(split.dataset.images) == 952
    assert sum(len(image.boxes) for image in split.dataset.images) == 3077
    assert sum(int(image.ignore.sum()) for image in split.dataset.images) == 615
    assert split.repairs == Repairs()
    first = split.dataset.images[0]
    assert first.file_name == "000025.jpg"
    np.testing.assert_array_equal(first.boxes[0], [1, 66, 47, 198])


def folder(root: Path, *names: str, images: str = "images", annotations: str = "annotations") -> Path:
    """A plain folder, as in the repositories of the raccoon and the blood cell sets."""
    for name in names:
        for path in ((root / images / f"{name}.jpg"), (root / annotations / f"{name}.xml")):
            path.parent.mkdir(parents=True, exist_ok=True)
        (root / images / f"{name}.jpg").write_bytes(jpeg())
        (root / annotations / f"{name}.xml").write_text(
            annotation(thing("RBC", (1, 1, 9, 9)), thing("WBC", (2, 2, 9, 9)))
        )
    return root


@pytest.mark.parametrize("places", [("images", "annotations"), (".", "."), ("BCCD/JPEGImages", "BCCD/Annotations")])
def test_a_plain_folder_needs_no_lists_and_may_have_any_classes(tmp_path: Path, places: tuple[str, str]) -> None:
    folder(tmp_path, "a", "b.1", images=places[0], annotations=places[1])
    (tmp_path / "notes.xml").write_text("<other/>")
    (tmp_path / places[0] / "unlabelled.jpg").write_bytes(jpeg())
    stated = state_folder([tmp_path])
    assert stated.dataset.classes == ("RBC", "WBC")
    names = [(Path(places[0]) / f"{name}.jpg").as_posix() for name in ("a", "b.1")]
    assert [image.file_name for image in stated.dataset.images] == names
    assert list(stated.notes.values()) == [1] and "have no annotation and were left out" in next(iter(stated.notes))


def test_boxes_from_zero_on_are_not_moved(tmp_path: Path) -> None:
    """Most tools count pixels from 0, although VOC counts from 1: one zero in a source tells which."""
    folder(tmp_path, "a")
    assert state_folder([tmp_path]).dataset.images[0].boxes.tolist() == [[0, 0, 9, 9], [1, 1, 9, 9]]
    folder(tmp_path, "b")
    (tmp_path / "annotations/b.xml").write_text(annotation(thing("RBC", (0, 3, 9, 9))))
    stated = state_folder([tmp_path])
    assert [image.boxes[0].tolist() for image in stated.dataset.images] == [[1, 1, 9, 9], [0, 3, 9, 9]]
    assert "taken as 0-based" in next(iter(stated.notes))


def test_one_zero_in_any_list_speaks_for_all_lists_of_the_source(tmp_path: Path) -> None:
    devkit(tmp_path, {"a": annotation(thing("RBC", (1, 1, 9, 9)))})
    devkit(tmp_path, {"b": annotation(thing("RBC", (0, 3, 9, 9)))}, split="val")
    stated = state_lists([tmp_path], {"train": "train", "val": "val"})
    assert [part.dataset.images[0].boxes.tolist() for part in stated.values()] == [[[1, 1, 9, 9]], [[0, 3, 9, 9]]]
    assert all("taken as 0-based" in next(iter(part.notes)) for part in stated.values())
    assert state_lists([tmp_path], {"train": "train"})["train"].dataset.images[0].boxes.tolist() == [[0, 0, 9, 9]]


def test_an_image_of_another_name_is_found_by_filename_and_a_rotated_box_is_ignored(tmp_path: Path) -> None:
    folder(tmp_path, "a")
    turned = "<robndbox><cx>30</cx><cy>20</cy><w>20</w><h>10</h><angle>1.5707963</angle></robndbox>"
    text = f"<annotation><filename>a.JPG</filename><object><name>cell</name>{turned}</object></annotation>"
    (tmp_path / "annotations/a.xml").rename(tmp_path / "annotations/other.xml").write_text(text)
    stated = state_folder([tmp_path])
    (image,) = stated.dataset.images
    np.testing.assert_allclose(image.boxes, [[24, 9, 35, 30]], atol=1e-4)  # 25, 10, 35, 30 from 1 on
    assert image.ignore.tolist() == [True] and "rotated rectangle(s)" in next(iter(stated.notes))


def test_an_annotation_without_its_image_or_with_two_is_refused(tmp_path: Path) -> None:
    folder(tmp_path, "a", "b")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/a.png").write_bytes(jpeg())
    with pytest.raises(AnnotationError, match=r"a\.xml: \S+/images/a\.jpg and \S+/more/a\.png may be its image"):
        state_folder([tmp_path])
    (tmp_path / "more/a.png").unlink()
    (tmp_path / "images/b.jpg").unlink()
    with pytest.raises(AnnotationError, match=r"b\.xml: no image has its name, b: add the image, or remove"):
        state_folder([tmp_path])
    with pytest.raises(AnnotationError, match="no VOC annotation here"):
        state_folder([tmp_path / "more"])
