import json
from pathlib import Path
from typing import Any

import pytest

from detector.common.errors import AnnotationError
from detector.data.frames import FrameRules
from tests.support.sources import notes, objects, stated, write_image


def region(kind: str = "rectanglelabels", labels: tuple[str, ...] = ("cat",), **value: Any) -> dict[str, Any]:
    """A region that covers the second quarter of each axis, in percent."""
    place = {"x": 25.0, "y": 25.0, "width": 25.0, "height": 25.0, "rotation": 0, kind: list(labels)} | value
    return {"id": "r1", "type": kind, "original_width": 60, "original_height": 40, "image_rotation": 0, "value": place}


def task(*result: dict[str, Any], image: str = "a.jpg", **more: Any) -> dict[str, Any]:
    annotation = {"id": 9, "result": list(result), "was_cancelled": False, "updated_at": "2024-02-01T00:00:00Z"}
    return {"id": 7, "data": {"image": image}, "annotations": [annotation], "predictions": []} | more


def export(root: Path, *tasks: dict[str, Any]) -> dict[str, Any]:
    write_image(root / "photos/a.jpg")
    (root / "export.json").write_text(json.dumps(tasks))
    return {"format": "labelstudio", "data": str(root / "export.json"), "images": str(root / "photos")}


def test_percent_become_pixels(tmp_path: Path) -> None:
    (train,) = stated(**export(tmp_path, task(region(), region(labels=("dog",), x=50.0)))).values()
    split = train.fit(FrameRules())
    assert objects(split.dataset) == {"a.jpg": [("cat", [15, 10, 30, 20], False), ("dog", [30, 10, 45, 20], False)]}
    assert not notes(train) and split.repairs.mismatched == 0


def test_other_shapes_and_labels_in_a_second_result_are_read(tmp_path: Path) -> None:
    plain = region("rectangle")
    del plain["value"]["rectangle"]
    named = {"id": "r1", "type": "labels", "value": {"x": 25, "y": 25, "labels": ["dog"]}}
    shapes = (
        region("polygonlabels", points=[[10, 10], [20, 10], [15, 50]]) | {"id": "p"},
        region("ellipselabels", x=50, y=50, radiusX=10, radiusY=20) | {"id": "e"},
        region(rotation=90) | {"id": "turned"},
        region("keypointlabels") | {"id": "k"},
        {"type": "choices", "value": {"choices": ["blurred"]}},
        {"type": "relation", "from_id": "p", "to_id": "e"},
    )
    (train,) = stated(**export(tmp_path, task(plain, named, *shapes))).values()
    assert objects(train.dataset)["a.jpg"] == [
        ("dog", [15, 10, 30, 20], False),
        ("cat", [6, 4, 12, 20], False),
        ("cat", [24, 12, 36, 28], False),
        ("cat", [5, 10, 15, 25], True),  # turned around its upper left corner
    ]
    assert len(notes(train)) == 3


def test_the_finished_annotation_counts_and_predictions_never(tmp_path: Path) -> None:
    def annotation(label: str, **more: Any) -> dict[str, Any]:
        return {"result": [region(labels=(label,))], "updated_at": "2024-01-01T00:00:00Z"} | more

    many = [
        annotation("late", updated_at="2024-03-01T00:00:00Z"),
        annotation("skipped", was_cancelled=True, updated_at="2024-04-01T00:00:00Z"),
        annotation("early"),
    ]
    prediction = [{"result": [region(labels=("guess",))], "score": 0.9}]
    source = export(tmp_path, task(annotations=many), task(image="b.jpg", annotations=[], predictions=prediction))
    (train,) = stated(**source).values()
    assert [row[0] for row in objects(train.dataset)["a.jpg"]] == ["late"]
    assert [text[:12] for text in notes(train)] == ["1 task(s) hav"[:12]] * 2
    many[2]["ground_truth"] = True
    (train,) = stated(**export(tmp_path, task(annotations=many))).values()
    assert [row[0] for row in objects(train.dataset)["a.jpg"]] == ["early"]
    (train,) = stated(**export(tmp_path, task())).values()
    assert objects(train.dataset) == {"a.jpg": []}  # somebody looked, and saw nothing


@pytest.mark.parametrize(
    "image",
    [
        "/data/local-files/?d=home/me/photos/a.jpg",
        "/data/upload/3/1a2b3c4d-a.jpg",
        "/data/upload/3/a.jpg",
        "s3://bucket/photos/a.jpg",
        "https://example.org/photos/a.jpg?token=5",
        "C:\\photos\\a.jpg",
    ],
)
def test_the_file_of_a_uri_is_found(tmp_path: Path, image: str) -> None:
    (train,) = stated(**export(tmp_path, task(region(), image=image))).values()
    assert train.files == {"a.jpg": tmp_path / "photos/a.jpg"}


@pytest.mark.parametrize(
    ("tasks", "reason"),
    [
        ([task(region() | {"image_rotation": 90})], "turned by 90 degrees in Label Studio"),
        ([task(region(labels=()))], "region r1 has no label"),
        ([task(region(width=None))], "a region of type rectanglelabels has no place"),
        ([task(region(), region() | {"original_width": 61})], "must be the same for all its regions"),
        ([task(region() | {"original_width": 0, "original_height": 0})], "original_width and original_height must"),
        ([task(region(), image="gone.jpg")], r"gone\.jpg is not in .*name their folder \(images\)"),
        ([task(region()), task(region())], "another task has the image"),
        ([{"image": "a.jpg", "label": [{"x": 1}]}], r"\[0\]\.data: Field required"),
        ([{"id": 7, "data": {"image": "a.jpg"}}], "has no `annotations`: .* perhaps JSON-MIN"),
        ([task(region(), data={"text": "no image"})], "must name one image, and names none"),
        ([task(annotations=[])], "no task has a finished annotation"),
    ],
)
def test_bad_exports_are_refused_with_the_reason(tmp_path: Path, tasks: list[Any], reason: str) -> None:
    with pytest.raises(AnnotationError, match=reason):
        stated(**export(tmp_path, *tasks))
