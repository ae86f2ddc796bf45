"""Images are grouped by a field where their format has one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from detector.common.errors import AnnotationError
from detector.data.settings import FetchSettings
from tests.support.sources import stated, write_image


def coco(root: Path) -> dict[str, Any]:
    images = [
        {"id": n, "file_name": f"{name}.jpg", "width": 60, "height": 40, "camera": n % 2, "licence": {"id": 3}}
        for n, name in ((7, "a"), (3, "b"), (5, "c"))
    ]
    images[2]["day"] = "monday"
    document = {"categories": [{"id": 1, "name": "cat"}], "images": images, "annotations": []}
    (root / "labels.json").write_text(json.dumps(document))
    return {"format": "coco", "splits": {"train": {"annotations": str(root / "labels.json"), "images": str(root)}}}


def cvat(root: Path) -> dict[str, Any]:
    images = "".join(
        f'<image name="{name}.jpg" width="60" height="40" task_id="4"><tag label="scene">'
        f'<attribute name="camera">1</attribute>{day}</tag></image>'
        for name, day in (("a", ""), ("b", ""), ("c", '<attribute name="day">monday</attribute>'))
    )
    (root / "annotations.xml").write_text(f"<annotations>{images}</annotations>")
    return {"format": "cvat", "data": str(root)}


def labelstudio(root: Path) -> dict[str, Any]:
    tasks = [
        {"id": n, "data": {"image": f"{name}.jpg", "camera": 1, "nested": {"a": 1}}, "annotations": [{"result": []}]}
        for n, name in enumerate("abc")
    ]
    tasks[2]["data"] |= {"day": "monday"}  # type: ignore[operator]
    (root / "export.json").write_text(json.dumps(tasks))
    return {"format": "labelstudio", "data": str(root)}


@pytest.mark.parametrize(
    ("write", "known"),
    [(coco, "camera, file_name, height, id, width"), (cvat, "camera, .*task_id"), (labelstudio, "camera, image")],
)
def test_a_field_groups_and_a_missing_one_names_those_that_are_there(
    tmp_path: Path, write: Callable[[Path], dict[str, Any]], known: str
) -> None:
    for name in "abc":
        write_image(tmp_path / f"{name}.jpg")
    source = write(tmp_path)

    def groups(field: str) -> list[str | None]:
        (part,) = stated(**source, split={"by": {"field": field}}).values()
        return [image.group for image in part.dataset.images]

    assert groups("camera") == ["1", "1", "1"]
    (plain,) = stated(**source).values()
    assert [image.group for image in plain.dataset.images] == [None, None, None]
    with pytest.raises(AnnotationError, match=f"has no value for the field 'day' .*its fields are .*{known}"):
        groups("day")


@pytest.mark.parametrize("source", [{"format": "voc", "data": "d"}, {"format": "yolo", "data": "d"}])
def test_formats_without_fields_say_so(source: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="images of this format have no fields; group them by file or by folder"):
        FetchSettings.model_validate({"sources": [source | {"split": {"by": {"field": "camera"}}}]})
