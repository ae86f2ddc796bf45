import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.common.errors import AnnotationError
from detector.data.checks import Repairs
from detector.data.formats.coco import read_coco


def dataset(folder: Path, **changes: object) -> tuple[Path, Path]:
    """A foreign data set: ids with gaps, one box that hangs over, one outside, one crowd."""
    document = {
        "categories": [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}],
        "images": [
            {"id": 40, "file_name": "b.png", "width": 60, "height": 40},
            {"id": 0, "file_name": "sub/a.png", "width": 60, "height": 41},
        ],
        "annotations": [
            {"id": 8, "image_id": 40, "category_id": 90, "bbox": [50, 30, 20.5, 20], "iscrowd": 1},
            {"id": 7, "image_id": 40, "category_id": 3, "bbox": [-9, 0, 9, 10]},
            {"id": 5, "image_id": 40, "category_id": 3, "bbox": [1, 2, 3, 4], "ignore": 1},
        ],
    } | changes
    images = folder / "images"
    (images / "sub").mkdir(parents=True)
    Image.new("RGB", (60, 40)).save(images / "b.png")
    Image.new("RGB", (60, 40), "red").save(images / "sub" / "a.png")
    (folder / "d.json").write_text(json.dumps(document))
    return folder / "d.json", images


def test_a_foreign_dataset_becomes_the_internal_one(tmp_path: Path) -> None:
    split = read_coco(*dataset(tmp_path))
    assert split.dataset.classes == ("cat", "dog")
    assert split.dataset.category_ids == (1, 2)
    first, second = split.dataset.images
    assert [(i.id, i.file_name, i.width, i.height) for i in (first, second)] == [
        (1, "sub/a.png", 60, 40),
        (2, "b.png", 60, 40),
    ]
    assert first.boxes.shape == (0, 4)
    np.testing.assert_array_equal(second.boxes, [[50, 30, 60, 40], [1, 2, 4, 6]])
    assert second.labels.tolist() == [1, 0]
    assert second.ignore.tolist() == [False, True]
    assert second.crowd.tolist() == [True, False]
    assert split.repairs == Repairs(clipped=1, dropped=1, mismatched=1)
    assert split.files["sub/a.png"] == tmp_path / "images/sub/a.png"


def test_one_folder_around_the_images_is_seen_through(tmp_path: Path) -> None:
    annotations, images = dataset(tmp_path / "in")
    (tmp_path / "out").mkdir()
    images.rename(tmp_path / "out" / "val2017")
    split = read_coco(annotations, tmp_path / "out")
    assert split.files["b.png"] == tmp_path / "out/val2017/b.png"


def test_bad_input_is_named(tmp_path: Path) -> None:
    annotations, images = dataset(tmp_path)
    with pytest.raises(AnnotationError, match="no such folder"):
        read_coco(annotations, tmp_path / "none")
    (tmp_path / "void").mkdir()
    with pytest.raises(AnnotationError, match=r"void: does not hold the image sub/a\.png"):
        read_coco(annotations, tmp_path / "void")
    (images / "b.png").write_bytes(b"no picture")
    with pytest.raises(AnnotationError, match=r"b\.png: the image does not decode"):
        read_coco(annotations, images)
    (images / "b.png").unlink()
    with pytest.raises(AnnotationError, match=r"b\.png: the image cannot be read \(No such file"):
        read_coco(annotations, images)


def test_a_dataset_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="lists no images"):
        read_coco(*dataset(tmp_path, images=[], annotations=[]))


@pytest.mark.parametrize("folder", ["images", "."])
@pytest.mark.parametrize("written", ["images\\b.png", "C:\\Users\\me\\images\\b.png", "c:/images/b.png"])
def test_windows_paths_are_found_below_the_folder(tmp_path: Path, written: str, folder: str) -> None:
    other = written.replace("b.png", "sub\\a.png")
    named = [{"id": 40, "file_name": written}, {"id": 0, "file_name": other}]  # nor do they state a size
    annotations, _ = dataset(tmp_path, images=named)
    split = read_coco(annotations, tmp_path / folder)
    names = ["images/sub/a.png", "images/b.png"] if folder == "." else ["sub/a.png", "b.png"]
    assert [image.file_name for image in split.dataset.images] == names
    assert [(image.width, image.height) for image in split.dataset.images] == [(60, 40), (60, 40)]
    assert [path.relative_to(tmp_path).as_posix() for path in split.files.values()] == [
        "images/sub/a.png",
        "images/b.png",
    ]
    assert split.repairs.mismatched == 0


def test_names_from_two_places_are_not_guessed(tmp_path: Path) -> None:
    places = ("one\\images", "two\\images")
    named = [{"id": number, "file_name": f"C:\\{place}\\b.png"} for number, place in enumerate(places)]
    annotations, images = dataset(tmp_path, images=named, annotations=[])
    with pytest.raises(AnnotationError, match=r"image two/images/b\.png lies outside one/images, where one/images/b"):
        read_coco(annotations, images)


@pytest.mark.parametrize("name", ["video1/b.png", "C:\\video1\\b.png"])
def test_a_file_of_the_same_name_from_another_folder_is_another_image(tmp_path: Path, name: str) -> None:
    annotations, images = dataset(tmp_path, images=[{"id": 40, "file_name": name}])
    with pytest.raises(AnnotationError, match=r"does not hold the image video1/b\.png"):
        read_coco(annotations, images)


def test_a_box_outside_an_image_of_unstated_size_is_refused(tmp_path: Path) -> None:
    """It was drawn on a larger image; to drop it would leave the others in wrong places."""
    box = {"id": 1, "image_id": 40, "category_id": 3, "bbox": [70, 2, 9, 9]}
    annotations, images = dataset(tmp_path, images=[{"id": 40, "file_name": "b.png"}], annotations=[box])
    with pytest.raises(AnnotationError, match=r"b\.png: .* states no size for it, and a box lies outside its 60x40"):
        read_coco(annotations, images)
