from pathlib import Path

import pytest

from detector.common.errors import AnnotationError
from detector.data.frames import FrameRules
from tests.support.sources import notes, objects, stated, write_image

YAML = "names: [cell, 'red cell']\ntrain: images/train\nval: images/val\n"


def project(root: Path, described: str = YAML, **labels: str | None) -> Path:
    """images/train/a.jpg with its labels, and images/val/v.jpg without an object."""
    root.mkdir(exist_ok=True)
    (root / "data.yaml").write_text(described)
    for name, text in {"val/v": "", **{f"train/{key}": value for key, value in labels.items()}}.items():
        write_image(root / f"images/{name}.jpg")
        if text is not None:
            path = root / f"labels/{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root


def test_fractions_of_centre_and_size_become_pixels(tmp_path: Path) -> None:
    project(tmp_path, a="1 0.5 0.5 0.5 0.25\n0 0.25 0.25 0.5 0.5\n\n")
    for data in (tmp_path, tmp_path / "data.yaml"):
        splits = stated(format="yolo", data=str(data))
        assert list(splits) == ["train", "val"]
        dataset = splits["train"].fit(FrameRules()).dataset
        assert dataset.classes == ("cell", "red cell")
        assert objects(dataset) == {
            "images/train/a.jpg": [("red cell", [15, 15, 45, 25], False), ("cell", [0, 0, 30, 20], False)]
        }
        assert objects(splits["val"].dataset) == {"images/val/v.jpg": []}  # an empty file is an image without objects


def test_an_image_without_a_label_file_is_not_labelled(tmp_path: Path) -> None:
    project(tmp_path, a="0 0.5 0.5 0.5 0.5", b=None)
    train = stated(format="yolo", data=str(tmp_path))["train"]
    assert list(objects(train.dataset)) == ["images/train/a.jpg"]
    assert notes(train)[0].startswith("1 image(s) have no label file and were left out; an empty label file means")


@pytest.mark.parametrize(
    "described",
    [
        "names: {0: cell, 1: red cell}\ntrain: ../images/train\n",  # Roboflow's path, beside the folder
        "path: /another/machine\nnc: 2\nnames: [cell, red cell]\ntrain: [images/train]\n",
        "names: [cell, red cell]\ntrain: train.txt\n",
    ],
)
def test_folders_and_lists_are_found(tmp_path: Path, described: str) -> None:
    project(tmp_path, described, a="1 0.5 0.5 0.5 0.5")
    (tmp_path / "train.txt").write_text("./images/train/a.jpg\n\n")
    assert objects(stated(format="yolo", data=str(tmp_path))["train"].dataset)["images/train/a.jpg"][0][0] == "red cell"


def test_without_data_yaml_a_list_of_names_is_enough(tmp_path: Path) -> None:
    """images/ beside labels/, or Darknet's files beside the images."""
    project(tmp_path, a="1 0.5 0.5 0.5 0.5")
    (tmp_path / "data.yaml").unlink()
    with pytest.raises(AnnotationError, match=r"nothing names the classes: add a data\.yaml"):
        stated(format="yolo", data=str(tmp_path))
    (tmp_path / "classes.txt").write_text("cell\nred cell\n")
    write_image(tmp_path / "more/b.png")
    (tmp_path / "more/b.txt").write_text("0 0.5 0.5 1 1")
    found = objects(stated(format="yolo", data=str(tmp_path))["train"].dataset)
    assert {name: [row[0] for row in rows] for name, rows in found.items()} == {
        "images/train/a.jpg": ["red cell"], "images/val/v.jpg": [], "more/b.png": ["cell"],
    }  # fmt: skip


def test_polygons_become_their_bounding_box_and_repeated_lines_one(tmp_path: Path) -> None:
    project(tmp_path, a="0 0.1 0.2 0.5 0.2 0.3 0.6\n0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.5\n")
    train = stated(format="yolo", data=str(tmp_path))["train"]
    assert [row[1] for row in objects(train.dataset)["images/train/a.jpg"]] == [[6, 8, 30, 24], [15, 10, 45, 30]]
    assert sorted(text.split(" ", 2)[1] for text in notes(train)) == ["line(s)", "polygon(s),"]


def test_rotated_boxes_are_refused_and_upright_rectangles_of_four_corners_are_not(tmp_path: Path) -> None:
    project(tmp_path, a="0 0.5 0.1 0.9 0.5 0.5 0.9 0.1 0.5")
    with pytest.raises(AnnotationError, match=r"every object has four corners: these are rotated boxes \(YOLO-OBB\)"):
        stated(format="yolo", data=str(tmp_path))
    project(tmp_path, a="0 0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.6")
    assert objects(stated(format="yolo", data=str(tmp_path))["train"].dataset)["images/train/a.jpg"][0][1] == [
        6,
        4,
        30,
        24,
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2 0.5 0.5 0.5 0.5", r"a\.txt: line 2: class 2 is not one of 0 to 1, the 2 names"),
        ("0.5 0.5 0.5 0.5 0.5", "class 0.5 is not one of"),
        ("0 30 20 10 10", "numbers outside 0 to 1: YOLO's are fractions"),
        ("0 0.5 0.5 nan 0.5", "numbers outside 0 to 1"),
        ("0 0.5 0.5 0.5 0.5 0.9", "six numbers, the last of them a score"),
        ("0 0.5 0.5", "has 3 numbers"),
        ("cell 0.5 0.5 0.5 0.5", "must hold numbers"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    project(tmp_path, a=f"0 0.5 0.5 0.5 0.5\n{line}\n")
    with pytest.raises(AnnotationError, match=reason):
        stated(format="yolo", data=str(tmp_path))


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        ("names: [a, a]\ntrain: images/train", "a name twice"),
        ("names: {1: a, 2: b}\ntrain: images/train", "must be 0 to 1, without gaps"),
        ("names: [a]\nnc: 2\ntrain: images/train", "nc is 2, but `names` has 1"),
        ("names: [a]\ntrain: images/none", "images/none is not there"),
        ("names: [a]\n", "names no images"),
        ("names: [a]\nkpt_shape: [17, 3]\ntrain: images/train", "key points"),
    ],
)
def test_a_wrong_description_is_named(tmp_path: Path, described: str, reason: str) -> None:
    project(tmp_path, described, a="")
    with pytest.raises(AnnotationError, match=reason):
        stated(format="yolo", data=str(tmp_path))


def test_splits_name_keys_of_data_yaml(tmp_path: Path) -> None:
    project(tmp_path, a="0 0.5 0.5 0.5 0.5")
    assert list(stated(format="yolo", data=str(tmp_path), splits={"train": "train", "test": "val"})) == [
        "train",
        "test",
    ]
    with pytest.raises(AnnotationError, match="has no split 'test'; it has train, val"):
        stated(format="yolo", data=str(tmp_path), splits={"test": "test"})


@pytest.mark.parametrize("frame", ["auto", "stored"])
def test_fractions_are_of_the_upright_image_unless_the_settings_say_stored(tmp_path: Path, frame: str) -> None:
    project(tmp_path, a="0 0.25 0.25 0.5 0.5")
    write_image(tmp_path / "images/train/a.jpg", orientation=6)  # 40x60 upright
    rules = FrameRules(frame)  # type: ignore[arg-type]
    split = stated(rules, format="yolo", data=str(tmp_path))["train"].fit(rules)
    # A quarter turn clockwise brings the upper left quarter of the stored rows to the upper right.
    assert objects(split.dataset)["images/train/a.jpg"][0][1] == (
        [0, 0, 20, 30] if frame == "auto" else [20, 0, 40, 30]
    )
    assert split.repairs.assumed_upright == (frame == "auto")
