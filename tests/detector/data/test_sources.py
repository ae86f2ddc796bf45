"""Several sources become one dataset: the union of their splits and of their classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detector.common.errors import AnnotationError
from detector.data.settings import FetchSettings
from detector.data.sources import Joined, read_sources
from tests.support.sources import objects, write_image

SPLITS = ("train", "val", "test")


def coco(root: Path, classes: list[str], splits: tuple[str, ...] = SPLITS, **more: Any) -> dict[str, Any]:
    """A source with one image in each split, which shows one object of every class."""
    source: dict[str, Any] = {"format": "coco", "splits": {}} | more
    for number, split in enumerate(splits):
        write_image(root / f"images/{split}.jpg", colour=40 * number + len(root.name))
        document = {
            "categories": [{"id": i, "name": name} for i, name in enumerate(classes)],
            "images": [{"id": 1, "file_name": f"{split}.jpg", "width": 60, "height": 40}],
            "annotations": [
                {"id": i + 1, "image_id": 1, "category_id": i, "bbox": [i, 2, 10, 10]} for i in range(len(classes))
            ],
        }
        (root / f"{split}.json").write_text(json.dumps(document))
        source["splits"][split] = {"annotations": str(root / f"{split}.json"), "images": str(root / "images")}
    return source


def read(tmp_path: Path, *sources: dict[str, Any], **others: Any) -> Joined:
    settings = FetchSettings.model_validate({"sources": sources} | others)
    (tmp_path / "scratch").mkdir(exist_ok=True)
    return read_sources(settings, 1, tmp_path / "scratch", {})


def labels(joined: Joined, split: str = "train") -> dict[str, list[str]]:
    return {name: [row[0] for row in rows] for name, rows in objects(joined.splits[split].dataset).items()}


def test_each_split_is_the_union_and_classes_are_joined_by_name(tmp_path: Path) -> None:
    first = coco(tmp_path / "one", ["zebra", "cat"])
    second = coco(tmp_path / "second", ["cat", "dog"], ("train",), weight=2.5)
    joined = read(tmp_path, first, second)
    dataset = joined.splits["train"].dataset
    assert dataset.classes == ("zebra", "cat", "dog")  # the order of the first source, then what the second adds
    assert labels(joined) == {"source-1/train.jpg": ["zebra", "cat"], "source-2/train.jpg": ["cat", "dog"]}
    assert [image.id for image in dataset.images] == [1, 2] and [image.weight for image in dataset.images] == [1, 2.5]
    assert labels(joined, "val") == {"source-1/val.jpg": ["zebra", "cat"]}
    assert [text.split(":")[0] for text in joined.notices] == [
        "source 1 lacks the classes dog, which another source has",
        "source 2 lacks the classes zebra, which another source has",
        "the sources use one file name for different files; they are kept apart in images/source-1, ...",
    ]


def test_classes_are_renamed_and_those_of_one_name_are_one(tmp_path: Path) -> None:
    joined = read(tmp_path, coco(tmp_path / "one", ["Cat", "kitten", "dog"], rename={"Cat": "cat", "kitten": "cat"}))
    assert joined.splits["train"].dataset.classes == ("cat", "dog")
    assert labels(joined)["train.jpg"] == ["cat", "cat", "dog"]
    with pytest.raises(AnnotationError, match="rename: no object is of class 'cats'; do you mean 'cat'"):
        read(tmp_path, coco(tmp_path / "one", ["cat"], rename={"cats": "cat"}))


def test_a_listed_subset_keeps_only_those_and_counts_the_others(tmp_path: Path) -> None:
    joined = read(tmp_path, coco(tmp_path / "one", ["a", "b", "c"]), classes=["c", "a"])
    assert joined.splits["val"].dataset.classes == ("c", "a")
    assert labels(joined, "val")["val.jpg"] == ["a", "c"]
    assert joined.left_out == {split: {"b": 1} for split in SPLITS}
    assert "val: 1 object(s) of class b were left out" in joined.notices
    with pytest.raises(AnnotationError, match=r"fetch\.classes: no object is of class 'd'"):
        read(tmp_path, coco(tmp_path / "one", ["a"]), classes=["d"])


def test_a_split_that_no_source_has_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no source has images for the split test: name it in the `splits`"):
        read(tmp_path, coco(tmp_path / "one", ["a"], ("train", "val")))
