"""What `boxcar convert` writes as labels, `detector fetch` reads without loss."""

from __future__ import annotations

import csv
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from detector.common.file_names import escaped
from jobs.convert import convert
from jobs.formats import BoxRecord, Record
from jobs.published_run import PublishedRun
from tests.jobs.formats.conftest import publish
from tests.jobs.helpers import records_of
from tests.support import sources
from tests.support.artifacts import CLASSES

PREFIX = "s3://photos/"
KEYS = [
    "a.png",
    "b c.png",
    "b: c?.png",
    "2/d.png",
    "2/images/f.png",
    "images/g.png",
    "2/3/ü 写.png",
    "%.png",
    "e.f.png",
    "-g .png",
]


@st.composite
def _box(draw: st.DrawFn, width: int, height: int) -> BoxRecord:
    """A box at sixteenths of a pixel, of at least two pixels: readers take images whose boxes are all smaller for
    images with fractions."""
    x, y = draw(st.integers(0, 16 * (width - 2))), draw(st.integers(0, 16 * (height - 2)))
    across, down = draw(st.integers(32, 16 * width - x)), draw(st.integers(32, 16 * height - y))
    place = {"x": x / 16, "y": y / 16, "width": across / 16, "height": down / 16}
    return BoxRecord(label=draw(st.sampled_from(CLASSES)), score=draw(st.integers(0, 10000)) / 10000, **place)


@st.composite
def _images(draw: st.DrawFn) -> dict[str, tuple[int, int, list[BoxRecord]]]:
    """Width, height and boxes by key. Equal boxes are one object to a reader, so that there are none; and a set without
    any box is refused."""
    images = {}
    for key in draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=4)):
        width, height = draw(st.integers(2, 300)), draw(st.integers(2, 200))
        boxes = draw(st.lists(_box(width, height), max_size=3, unique_by=lambda box: (box.label, box.x, box.y)))
        images[key] = (width, height, boxes)
    return images | {"z.png": (90, 60, [draw(_box(90, 60))])}


def _accepted(tasks: Path) -> None:
    """Make annotations of the predictions, as a person does who accepts them all."""
    accepted = json.loads(tasks.read_bytes())
    for number, task in enumerate(accepted):
        task |= {"id": number, "annotations": task.pop("predictions")}
    tasks.write_text(json.dumps(accepted), "utf-8")


def _written(run: PublishedRun, to: str, folder: Path) -> dict[str, str]:
    """Write labels into `folder`. Returns where the image of each URI lies there."""
    path, *more = convert(run, to, folder)
    for other in more:
        other.unlink()
    records = [record for record in run.records() if record.status == "ok"]
    if to in ("voc", "yolo"):
        with zipfile.ZipFile(path) as found:
            found.extractall(folder)
            names = [name[len("Annotations/") : -len(".xml")] for name in found.namelist() if name.endswith(".xml")]
        path.unlink()
        if to == "yolo":
            with (folder / "images.csv").open(newline="", encoding="utf-8") as table:
                return {row["image"]: row["file"] for row in csv.DictReader(table)}
        return {record.image: f"JPEGImages/{name}.png" for record, name in zip(records, names, strict=True)}
    if to == "labelstudio":
        _accepted(path)
    return {record.image: f"images/{escaped(run.key(record))}" for record in records}  # as copies are named


@pytest.mark.parametrize("to", ["coco-annotations", "cvat", "labelstudio", "voc", "yolo"])
def test_no_box_changes(first: Path, to: str) -> None:
    one = next(record for record in records_of(first) if record.boxes)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(images=_images())
    def check(images: dict[str, tuple[int, int, list[BoxRecord]]]) -> None:
        records = {}
        for key in sorted(images, key=str.encode):
            width, height, boxes = images[key]
            new = {"image": PREFIX + key, "width": width, "height": height, "boxes": boxes}
            records[key] = one.model_copy(update=new)
        publish(first, list(records.values()), input=PREFIX)
        with tempfile.TemporaryDirectory() as folder:
            _check(first, to, Path(folder), records)

    check()


def _check(output: Path, to: str, folder: Path, records: dict[str, Record]) -> None:
    places = _written(PublishedRun.open(str(output)), to, folder)
    for record in records.values():
        image = folder / places[record.image]
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (record.width or 0, record.height or 0)).save(image)
    source: dict[str, Any] = {"format": to, "data": str(folder)}
    if to == "coco-annotations":
        (annotations,) = folder.glob("*.json")
        files = {"annotations": str(annotations), "images": str(folder / "images")}
        source = {"format": "coco", "splits": {"train": files}}
    (part,) = sources.stated(**source).values()
    dataset = part.fit(sources.FrameRules()).dataset
    found = {
        part.files[image.file_name].relative_to(folder).as_posix(): sorted(
            (dataset.classes[label], *(round(16 * float(edge)) / 16 for edge in box))
            for label, box in zip(image.labels, image.boxes, strict=True)
        )
        for image in dataset.images
    }
    assert found == {
        places[record.image]: sorted(
            (box.label, box.x, box.y, box.x + box.width, box.y + box.height) for box in record.boxes
        )
        for record in records.values()
    }
