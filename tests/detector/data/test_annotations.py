import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.common.errors import AnnotationError
from detector.data.annotations import CocoDataset, ImageInfo, load_coco, save_coco
from tests.support.datasets import image_info


def image(number: int, boxes: list[list[float]], labels: list[int], width: int = 60, height: int = 40) -> ImageInfo:
    places = range(len(boxes))
    return image_info(
        number,
        boxes,
        labels,
        size=(width, height),
        file_name=f"{number}.jpg",
        ignore=[i % 2 == 1 for i in places],
        crowd=[i % 3 == 2 for i in places],
    )


def assert_same(a: CocoDataset, b: CocoDataset) -> None:
    assert a.classes == b.classes
    assert a.category_ids == b.category_ids
    assert len(a.images) == len(b.images)
    for left, right in zip(a.images, b.images, strict=True):
        assert (left.id, left.file_name, left.width, left.height) == (
            right.id, right.file_name, right.width, right.height,
        )  # fmt: skip
        for name, dtype in (("boxes", np.float32), ("labels", np.int64), ("ignore", np.bool_), ("crowd", np.bool_)):
            assert getattr(right, name).dtype == dtype
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name))


edge = st.floats(0, 5000, width=32)


@given(st.lists(st.tuples(edge, edge, edge, edge), max_size=6))
def test_float32_corners_survive_the_trip_exactly(tmp_path_factory: pytest.TempPathFactory, corners) -> None:
    boxes = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners]
    dataset = CocoDataset(("cat", "dog"), (image(3, boxes, [i % 2 for i in range(len(boxes))]),))
    path = tmp_path_factory.mktemp("trip") / "d.json"
    save_coco(dataset, path)
    assert_same(dataset, load_coco(path))


def test_what_is_written_is_coco_with_ids_from_1(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    save_coco(CocoDataset(("cat", "dog"), (image(2, [[1, 2, 11, 7]], [1]), image(1, [], []))), path)
    assert path.read_text() == (
        '{"annotations":[{"area":50,"bbox":[1,2,10,5],"category_id":2,"id":1,"ignore":0,"image_id":2,"iscrowd":0}],'
        '"categories":[{"id":1,"name":"cat"},{"id":2,"name":"dog"}],'
        '"images":[{"file_name":"1.jpg","height":40,"id":1,"width":60},'
        '{"file_name":"2.jpg","height":40,"id":2,"width":60}]}\n'
    )


def test_an_image_without_boxes_has_empty_arrays(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    save_coco(CocoDataset(("cat",), (image(1, [], []),)), path)
    found = load_coco(path).images[0]
    assert found.boxes.shape == (0, 4)
    assert found.labels.shape == found.ignore.shape == found.crowd.shape == (0,)


def test_foreign_category_ids_become_labels_in_their_order_and_are_kept(tmp_path: Path) -> None:
    document = valid()
    document["categories"] = [{"id": 90, "name": "toothbrush"}, {"id": 7, "name": "train"}]
    document["annotations"][0]["category_id"] = 90
    path = tmp_path / "d.json"
    path.write_text(json.dumps(document))
    dataset = load_coco(path)
    assert dataset.classes == ("train", "toothbrush")
    assert dataset.category_ids == (7, 90)
    assert dataset.images[0].labels.tolist() == [1]
    save_coco(dataset, path)
    assert_same(dataset, load_coco(path))


def valid() -> dict:
    return {
        "categories": [{"id": 1, "name": "cat"}],
        "images": [{"id": 1, "file_name": "a/1.jpg", "width": 60, "height": 40}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    }


def test_a_minimal_document_is_read(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.write_text(json.dumps(valid()))
    found = load_coco(path).images[0]
    np.testing.assert_array_equal(found.boxes, [[1, 2, 4, 6]])
    assert not found.ignore[0] and not found.crowd[0]


def _set(where: str, index: int, key: str, value: object):
    def change(document: dict) -> None:
        document[where][index][key] = value

    return change


def _drop(where: str, index: int, key: str):
    return lambda document: document[where][index].pop(key)


def _again(where: str):
    return lambda document: document[where].append(dict(document[where][0]))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda d: d.pop("images"), "images: Field required"),
        (lambda d: d.pop("categories"), "categories: Field required"),
        (lambda d: d.pop("annotations"), "annotations: Field required"),
        (lambda d: d.update(images=3), "images: Input should be a valid array, not 3"),
        (lambda d: d.update(annotations=[3]), "annotations[0]: Input should be an object, not 3"),
        (_again("images"), "image 1 is listed twice"),
        (lambda d: d["images"].append(d["images"][0] | {"id": 7, "file_name": "./a\\1.jpg"}), "the ids 1 and 7"),
        (_again("annotations"), "annotation 1 is listed twice"),
        (_again("categories"), "category 1 is listed twice"),
        (lambda d: d["categories"].append({"id": 2, "name": "cat"}), "category 'cat' is listed twice"),
        (lambda d: d["images"].append(d["images"][0] | {"id": 2}), "image 'a/1.jpg' is listed twice"),
        (_set("annotations", 0, "category_id", 4), "category 4, which is not listed"),
        (_set("annotations", 0, "image_id", 9), "image 9, which is not listed"),
        (_drop("annotations", 0, "bbox"), "annotations[0].bbox: Field required"),
        (_set("annotations", 0, "bbox", [1, 2, 3]), "annotations[0].bbox[3]: Field required"),
        (
            _set("annotations", 0, "bbox", [1, 2, "3", 4]),
            "annotations[0].bbox[2]: Input should be a valid number, not '3'",
        ),
        (
            _set("annotations", 0, "bbox", [1, 2, float("nan"), 4]),
            "bbox[2]: Input should be a finite number",
        ),
        (
            _set("annotations", 0, "bbox", [1, 2, -3, 4]),
            "annotations[0].bbox[2]: Input should be greater than or equal to 0",
        ),
        (_set("annotations", 0, "ignore", 2), "annotations[0].ignore: Input should be a valid boolean"),
        (_set("annotations", 0, "id", "one"), "annotations[0].id: Input should be a valid integer, not 'one'"),
        (_set("annotations", 0, "id", True), "annotations[0].id: Input should be a valid integer, not True"),
        (_set("images", 0, "width", "60"), "images[0].width: Input should be a valid integer, not '60'"),
        (_set("images", 0, "height", -1), "images[0].height: Input should be greater than or equal to 0, not -1"),
        (_drop("images", 0, "file_name"), "images[0].file_name: Field required"),
        (_set("images", 0, "file_name", "../1.jpg"), "must stay inside the image folder"),
        (_set("images", 0, "file_name", "/etc/1.jpg"), "must stay inside the image folder"),
        (_set("images", 0, "file_name", "..\\1.jpg"), "must stay inside the image folder"),
        (_set("images", 0, "file_name", "C:\\..\\1.jpg"), "must stay inside the image folder"),
        (_set("images", 0, "file_name", "C:\\"), "must stay inside the image folder"),
        (_set("images", 0, "file_name", "a\\/etc/..\\..\\1.jpg"), "must stay inside the image folder"),
        (_drop("categories", 0, "name"), "categories[0].name: Field required"),
    ],
)
def test_bad_documents_are_refused_naming_file_and_reason(tmp_path: Path, damage, reason: str) -> None:
    document = valid()
    damage(document)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(document))
    with pytest.raises(AnnotationError) as caught:
        load_coco(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b"[" * 200_000])
def test_what_is_not_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=r"bad\.json: is not JSON"):
        load_coco(path)


def test_other_json_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(AnnotationError, match="the document: Input should be an object"):
        load_coco(tmp_path / "list.json")
    with pytest.raises(AnnotationError, match="no such file"):
        load_coco(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("images\\a.jpg", "images/a.jpg"),
        (".\\a b.jpg", "a b.jpg"),
        ("C:\\data\\images\\a.jpg", "data/images/a.jpg"),
        ("d:/data/a.jpg", "data/a.jpg"),
        ("C:a.jpg", "C:a.jpg"),  # a name that other systems allow
        ("\\data\\a.jpg", "data/a.jpg"),
        ("\\\\server\\share\\x\\a.jpg", "x/a.jpg"),
        ("images/./a.jpg", "images/a.jpg"),
    ],
)
def test_windows_paths_become_names_inside_the_folder(tmp_path: Path, written: str, name: str) -> None:
    document = valid()
    document["images"][0]["file_name"] = written
    (tmp_path / "d.json").write_text(json.dumps(document))
    assert load_coco(tmp_path / "d.json").images[0].file_name == name


@pytest.mark.parametrize("size", [{}, {"width": None, "height": None}, {"width": 0, "height": 0}])
def test_a_size_may_be_left_to_the_file(tmp_path: Path, size: dict) -> None:
    document = valid()
    document["images"][0] = {"id": 1, "file_name": "a.jpg"} | size
    (tmp_path / "d.json").write_text(json.dumps(document))
    found = load_coco(tmp_path / "d.json").images[0]
    assert (found.width, found.height) == (0, 0)


def roboflow(*names: str, annotated: int = 1) -> dict:
    """An export as Roboflow writes it: the first name is that of the root, which all others name."""
    categories = [{"id": 0, "name": names[0], "supercategory": "none"}]
    categories += [{"id": i, "name": name, "supercategory": names[0]} for i, name in enumerate(names[1:], start=1)]
    document = valid() | {"categories": categories}
    document["annotations"][0]["category_id"] = annotated
    return document


@pytest.mark.parametrize("annotations", [0, 1])
@pytest.mark.parametrize("classes", [("cat",), ("cat", "dog"), ("dog", "cat"), ("bird", "cat", "dog")])
def test_a_root_with_the_name_of_a_class_is_no_class(
    tmp_path: Path, classes: tuple[str, ...], annotations: int
) -> None:
    document = roboflow("cat", *classes, annotated=len(classes))
    document["annotations"] = document["annotations"][:annotations]
    (tmp_path / "d.json").write_text(json.dumps(document))
    dataset = load_coco(tmp_path / "d.json")
    assert dataset.classes == classes and dataset.category_ids == tuple(range(1, len(classes) + 1))
    assert [image.labels.tolist() for image in dataset.images] == [[len(classes) - 1] * annotations]


def test_a_root_of_another_name_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(json.dumps(roboflow("animals", "cat", "dog")))
    assert load_coco(tmp_path / "d.json").classes == ("animals", "cat", "dog")


def test_two_classes_of_one_name_are_refused(tmp_path: Path) -> None:
    document = roboflow("cat", "cat", "dog", annotated=0)  # the root has a box: which class is it?
    (tmp_path / "d.json").write_text(json.dumps(document))
    with pytest.raises(AnnotationError, match="category 'cat' is listed twice"):
        load_coco(tmp_path / "d.json")
