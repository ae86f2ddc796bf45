"""Runs as labels: what is written means exactly what the records say, to other people's readers too.

The readers are not among the packages of this project. A test whose reader is absent is skipped, and names it.
"""

from __future__ import annotations

import csv
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest
import yaml
from PIL import Image

from jobs.convert import FORMATS, convert
from jobs.formats import BoxRecord, Record
from jobs.published_run import PublishedRun
from tests.jobs.formats.conftest import Runs, publish
from tests.jobs.helpers import Boxcar, records_of
from tests.support.artifacts import CLASSES

# A box as (label, left, top, right, bottom), and the boxes of images by their names.
Box = tuple[str, float, float, float, float]
Boxes = dict[str, list[Box]]

KEYS = (
    "0.png", "1.png", "2/1.png", "2/3/1.png", "2/x y.png", "Zürich 写真.png", "a.b.png", "dog's & <cat>.png",
    "d.jpg", "d.png", "..", "../up.png", "/root.png", "back\\slash.png", "new\nline.png", "tail .png", "none.png",
)  # fmt: skip
TOOLS = ("cvat", "labelstudio", "voc", "yolo")


def _made(output: Path, keys: tuple[str, ...] = KEYS, prefix: str = "s3://photos/") -> dict[str, Record]:
    """Publish records of these keys and one that failed, with boxes at random sixteenths of a pixel of images that are
    not square. The last image has no boxes. Returns the records by key."""
    one = next(record for record in records_of(output) if record.boxes)
    dice = random.Random(1)

    def box(height: int, width: int) -> BoxRecord:
        x, y = dice.randrange(16 * (width - 1)) / 16, dice.randrange(16 * (height - 1)) / 16
        across = dice.randint(16, int(16 * (width - x))) / 16
        down = dice.randint(16, int(16 * (height - y))) / 16
        score = dice.randrange(10001) / 10000
        return BoxRecord(label=dice.choice(CLASSES), score=score, x=x, y=y, width=across, height=down)

    records = {}
    for key in sorted(keys, key=str.encode):
        height, width = dice.randrange(20, 90), dice.randrange(100, 300)
        boxes = [box(height, width) for _ in range(0 if key == "none.png" else 3)]
        new = {"image": prefix + key, "height": height, "width": width, "boxes": boxes}
        records[key] = one.model_copy(update=new)
    nothing = {"image": f"{prefix}~", "status": "unreadable", "height": None, "width": None, "boxes": []}
    failed = one.model_copy(update=nothing)
    statuses = {"ok": len(records), "unreadable": 1}
    publish(output, [*records.values(), failed], input=prefix, statuses=statuses)
    return records


def _edges(record: Record) -> list[Box]:
    return [(box.label, box.x, box.y, box.x + box.width, box.y + box.height) for box in record.boxes]


def _sixteenths(label: str, *edges: float, within: float = 1e-5) -> Box:
    """The box on the grid of the records, from which no edge may be further away than `within` pixels: by default what
    floating point explains."""
    left, top, right, bottom = (round(edge * 16) / 16 for edge in edges)
    assert max(abs(found - kept) for found, kept in zip(edges, (left, top, right, bottom), strict=True)) <= within
    return label, left, top, right, bottom


def _write(output: Path, to: str, folder: Path) -> list[Path]:
    return convert(PublishedRun.open(str(output)), to, folder)


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as found:
        assert len(set(found.namelist())) == len(found.namelist())
        return {name: found.read(name) for name in found.namelist()}


def _read_yolo(path: Path) -> Boxes:
    members = _members(path)
    names = yaml.safe_load(members["data.yaml"])["names"]
    read: Boxes = {}
    for row in csv.DictReader(io.StringIO(members["images.csv"].decode(), newline="")):
        label_file = "labels/" + row["file"].removeprefix("images/").removesuffix(".png").removesuffix(".jpg") + ".txt"
        width, height = int(row["image_width"]), int(row["image_height"])
        boxes = read.setdefault(row["image"], [])
        for line in members[label_file].decode().splitlines():
            number, *values = line.split()
            x, y, across, down = map(float, values)
            edges = (x - across / 2) * width, (y - down / 2) * height, (x + across / 2) * width, (y + down / 2) * height
            boxes.append(_sixteenths(names[int(number)], *edges))
    assert len(read) == len(members) - 2  # data.yaml and images.csv
    return read


def _read_voc(path: Path) -> Boxes:
    members = _members(path)
    listed = members.pop("ImageSets/Main/default.txt").decode().splitlines()
    assert members.pop("labelmap.txt")
    assert [f"Annotations/{name}.xml" for name in listed] == list(members)
    read: Boxes = {}
    for data in members.values():
        root = ElementTree.fromstring(data)
        boxes = read.setdefault(root.findtext("source/image") or "", [])
        for thing in root.iter("object"):
            x1, y1, x2, y2 = (float(thing.findtext(f"bndbox/{tag}") or "") for tag in ("xmin", "ymin", "xmax", "ymax"))
            boxes.append((thing.findtext("name") or "", x1 - 1, y1 - 1, x2, y2))
    return read


def _read_cvat(path: Path) -> Boxes:
    return {
        "s3://photos/" + image.attrib["name"]: [
            (box.attrib["label"], *(float(box.attrib[edge]) for edge in ("xtl", "ytl", "xbr", "ybr")))
            for box in image.iter("box")
        ]
        for image in ElementTree.parse(path).iter("image")
    }  # type: ignore[misc, unused-ignore]


def _read_labelstudio(path: Path) -> Boxes:
    read: Boxes = {}
    for task in json.loads(path.read_bytes()):
        (prediction,) = task["predictions"]
        boxes = read.setdefault(task["data"]["image"], [])
        for region in prediction["result"]:
            value, across, down = region["value"], region["original_width"] / 100, region["original_height"] / 100
            left, top = value["x"] * across, value["y"] * down
            (label,) = value["rectanglelabels"]
            boxes.append(_sixteenths(label, left, top, left + value["width"] * across, top + value["height"] * down))
    return read


READERS: dict[str, Callable[[Path], Boxes]] = {
    "cvat": _read_cvat, "labelstudio": _read_labelstudio, "voc": _read_voc, "yolo": _read_yolo,
}  # fmt: skip


@pytest.mark.parametrize("to", TOOLS)
def test_every_box_comes_back_exactly(first: Path, tmp_path: Path, to: str) -> None:
    records = _made(first)
    path, *_ = _write(first, to, tmp_path / "one")
    assert READERS[to](path) == {record.image: _edges(record) for record in records.values()}
    again = _write(first, to, tmp_path / "two")
    assert [file.read_bytes() for file in again] == [(tmp_path / "one" / file.name).read_bytes() for file in again]


@pytest.mark.parametrize("to", TOOLS)
def test_the_command(boxcar: Boxcar, made_runs: Runs, tmp_path: Path, to: str) -> None:
    printed = boxcar("convert", made_runs.first, "--to", to, "--out", tmp_path).stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        PublishedRun.open(str(made_runs.first)).manifest.run + suffix for suffix in FORMATS[to].suffixes
    )
    assert all(path.name in printed for path in tmp_path.iterdir())


def test_lineage_and_scores(first: Path, tmp_path: Path) -> None:
    records = _made(first)
    manifest = PublishedRun.open(str(first)).manifest
    lineage, some = manifest.lineage, records["1.png"]
    xml, labels = _write(first, "cvat", tmp_path)
    root = ElementTree.parse(xml)
    (image,) = [image for image in root.iter("image") if image.get("name") == "1.png"]
    assert [float(box.findtext("attribute[@name='score']") or "") for box in image] == [b.score for b in some.boxes]
    assert root.findtext("meta/boxcar/plan_digest") == lineage.plan_digest
    assert root.findtext("meta/boxcar/artifact_sha256") == lineage.artifact_sha256
    assert root.findtext("meta/task/size") == str(len(records))
    assert [(label["name"], label["attributes"][0]["name"]) for label in json.loads(labels.read_bytes())] == [
        (name, "score") for name in CLASSES
    ]
    (archive,) = _write(first, "voc", tmp_path)
    voc = ElementTree.fromstring(_members(archive)["Annotations/1.xml"])
    assert [float(thing.findtext("attributes/attribute/value") or "") for thing in voc.iter("object")] == [
        box.score for box in some.boxes
    ]
    assert voc.findtext("source/annotation") == f"{lineage.artifact_name}, {lineage.artifact_sha256}"
    assert voc.findtext("source/etag") == some.etag and voc.findtext("source/database") == f"Boxcar, run {some.run}"
    (archive,) = _write(first, "yolo", tmp_path)
    assert f"# plan {lineage.plan_digest}\n" in _members(archive)["data.yaml"].decode()
    tasks = json.loads(_write(first, "labelstudio", tmp_path)[0].read_bytes())
    (task,) = [task for task in tasks if task["data"]["image"] == some.image]
    (prediction,) = task["predictions"]
    assert [region["score"] for region in prediction["result"]] == [box.score for box in some.boxes]
    assert prediction["score"] == pytest.approx(sum(box.score for box in some.boxes) / 3, abs=5e-5)
    assert prediction["model_version"] == f"{lineage.artifact_name} {lineage.artifact_sha256[:8]}"
    (empty,) = [task for task in tasks if task["data"]["image"].endswith("none.png")]
    assert empty["predictions"] == [{"model_version": prediction["model_version"], "result": []}]


def test_files_as_label_studio_serves_them(first: Path, tmp_path: Path) -> None:
    _made(first, ("a/b c&d.png",), "/home/photos/")
    (task,) = json.loads(_write(first, "labelstudio", tmp_path)[0].read_bytes())
    parts = urlsplit(task["data"]["image"])
    assert parts.path == "/data/local-files/" and parse_qs(parts.query) == {"d": ["home/photos/a/b c&d.png"]}


def test_edges_outside_the_image(first: Path, tmp_path: Path) -> None:
    """Only a rejected run has them. Readers of YOLO refuse a file with one, and VOC counts from 1."""
    record = next(record for record in records_of(first) if record.boxes)
    box = record.boxes[0].model_copy(update={"x": -4.0, "y": 2.0, "width": 100.0, "height": 90.0})
    publish(first, [record.model_copy(update={"boxes": [box], "image": "s3://photos/1.png"})], input="s3://photos/")
    inside = [(box.label, 0.0, 2.0, float(record.width or 0), float(record.height or 0))]
    for to in ("voc", "yolo"):
        assert READERS[to](_write(first, to, tmp_path)[0]) == {"s3://photos/1.png": inside}


def test_voc_widens_what_is_smaller_than_a_pixel(first: Path, tmp_path: Path) -> None:
    record = next(record for record in records_of(first) if record.boxes)
    places = ((0.0, 0.25), (5.5, 0.25), (47.875, 0.125))
    boxes = [record.boxes[0].model_copy(update={"x": x, "y": 2.5, "width": w, "height": 1.0}) for x, w in places]
    publish(first, [record.model_copy(update={"boxes": boxes, "width": 48, "height": 40})])
    (found,) = _read_voc(_write(first, "voc", tmp_path)[0]).values()
    assert [(left, right) for _, left, _, right, _ in found] == [(0, 1), (4.75, 5.75), (47, 48)]
    assert {(top, bottom) for _, _, top, _, bottom in found} == {(2.5, 3.5)}


def test_labels_that_are_hard_to_write(first: Path, tmp_path: Path) -> None:
    names = ['say "yes": no', "a\\b #1", "<&>", "猫\u2028", "tab\t", "Ünï 🐈", "null"]
    record = next(record for record in records_of(first) if record.boxes)
    box = record.boxes[0]
    boxes = [box.model_copy(update={"label": name}) for name in names]
    changed = [record.model_copy(update={"boxes": boxes, "image": "s3://photos/1.png"})]
    publish(first, changed, input="s3://photos/", boxes=dict.fromkeys(names, 1))
    for to in TOOLS:
        (found,) = READERS[to](_write(first, to, tmp_path)[0]).values()
        assert [label for label, *_ in found] == names, to
    configuration = ElementTree.parse(next(tmp_path.glob("*-config.xml")))
    assert [label.get("value") for label in configuration.iter("Label")] == [*CLASSES, *names]


def test_what_xml_cannot_hold(first: Path, tmp_path: Path) -> None:
    _made(first, ("bell\x07.png",))
    (name,) = _read_cvat(_write(first, "cvat", tmp_path)[0])
    assert name == "s3://photos/bell%07.png"
    (image,) = _read_voc(_write(first, "voc", tmp_path)[0])
    assert image == "s3://photos/bell%07.png"


# Keys whose images other readers find: some of these look in one folder only.
FLAT = tuple(key for key in KEYS if key != ".." and not set(key) & set("/\\\n"))
DEEP = (*FLAT, "2/1.png", "2/3/1.png", "2/x y.png")


def _unpacked(path: Path, records: dict[str, Record], images: str, folder: Path) -> dict[str, str]:
    """Unpack a ZIP file and put images beside the labels. Returns the images' keys by their names, which have no
    extension."""
    with zipfile.ZipFile(path) as found:
        found.extractall(folder)
        labels = [name for name in found.namelist() if name.startswith(("labels/", "Annotations/"))]
    keys = {}
    for label_file, (key, record) in zip(labels, records.items(), strict=True):
        name = label_file.partition("/")[2].rpartition(".")[0]
        _draw(folder / images / f"{name}.{key.rpartition('.')[2]}", record)
        keys[name] = key
    return keys


def _draw(path: Path, record: Record) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (record.width or 0, record.height or 0)).save(path)


def _yolo_set(output: Path, folder: Path) -> tuple[Boxes, dict[str, str]]:
    records = _made(output, FLAT)
    keys = _unpacked(_write(output, "yolo", folder / "zip")[0], records, "images", folder / "set")
    return _wanted(records), keys


def _voc_set(output: Path, folder: Path, keys: tuple[str, ...]) -> tuple[Boxes, dict[str, str]]:
    records = _made(output, keys)
    return _wanted(records), _unpacked(_write(output, "voc", folder / "zip")[0], records, "JPEGImages", folder / "set")


def _wanted(records: dict[str, Record]) -> Boxes:
    return {key: sorted(_edges(record)) for key, record in records.items()}


def _by_datumaro(folder: Path, to: str, first: int = 0) -> Boxes:
    """It rounds edges to hundredths of a pixel. first: the number of the first pixel in the format."""
    datumaro = pytest.importorskip("datumaro", reason="datumaro is not installed")
    dataset = datumaro.Dataset.import_from(str(folder), to)
    names = [label.name for label in dataset.categories()[datumaro.AnnotationType.label]]
    return {
        item.id: sorted(
            _sixteenths(
                names[box.label],
                box.points[0] - first,
                box.points[1] - first,
                *box.points[2:],
                within=0.00502,
            )
            for box in item.annotations
            if box.type is datumaro.AnnotationType.bbox
        )
        for item in dataset
    }


def test_datumaro_reads_cvat(first: Path, tmp_path: Path) -> None:
    """It cannot hold two images of one stem."""
    records = _made(first, tuple(key for key in DEEP if key != "d.png"))
    _write(first, "cvat", tmp_path / "set")
    for key, record in records.items():
        _draw(tmp_path / "set/images" / key, record)
    wanted = {key.rpartition(".")[0]: boxes for key, boxes in _wanted(records).items()}
    assert _by_datumaro(tmp_path / "set", "cvat") == wanted


def test_datumaro_reads_yolo(first: Path, tmp_path: Path) -> None:
    wanted, keys = _yolo_set(first, tmp_path)
    assert {keys[name]: boxes for name, boxes in _by_datumaro(tmp_path / "set", "yolo").items()} == wanted


def test_datumaro_reads_voc(first: Path, tmp_path: Path) -> None:
    """It leaves edges as VOC counts them, from 1."""
    wanted, keys = _voc_set(first, tmp_path, DEEP)
    assert {keys[name]: boxes for name, boxes in _by_datumaro(tmp_path / "set", "voc", 1).items()} == wanted


def _by_supervision(dataset: Any) -> Boxes:
    return {
        Path(path).stem: sorted(
            _sixteenths(dataset.classes[number], *map(float, box))
            for box, number in zip(found.xyxy, found.class_id, strict=True)
        )
        for path, _, found in dataset
    }


def test_supervision_reads_yolo(first: Path, tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    wanted, keys = _yolo_set(first, tmp_path)
    places = [str(tmp_path / "set" / name) for name in ("images", "labels", "data.yaml")]
    found = _by_supervision(supervision.DetectionDataset.from_yolo(*places))
    assert {keys[name]: boxes for name, boxes in found.items()} == wanted


def test_supervision_reads_voc(first: Path, tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    wanted, keys = _voc_set(first, tmp_path, FLAT)
    places = [str(tmp_path / "set" / name) for name in ("JPEGImages", "Annotations")]
    found = _by_supervision(supervision.DetectionDataset.from_pascal_voc(*places))
    assert {keys[name]: boxes for name, boxes in found.items()} == wanted


def test_supervision_reads_coco(first: Path, tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    records = _made(first, DEEP)
    (path,) = _write(first, "coco-annotations", tmp_path)
    for key, record in records.items():
        _draw(tmp_path / "images" / key, record)
    dataset = supervision.DetectionDataset.from_coco(str(tmp_path / "images"), str(path))
    found = {
        Path(image).relative_to(tmp_path / "images").as_posix(): sorted(
            _sixteenths(dataset.classes[number], *map(float, box))
            for box, number in zip(boxes.xyxy, boxes.class_id, strict=True)
        )
        for image, _, boxes in dataset
    }
    assert found == _wanted(records)


def test_label_studio_accepts_its_tasks(first: Path, tmp_path: Path) -> None:
    """Its own check of predictions against the configuration."""
    interface = pytest.importorskip("label_studio_sdk.label_interface", reason="label-studio-sdk is not installed")
    _made(first)
    tasks, configuration = _write(first, "labelstudio", tmp_path)
    checked = interface.LabelInterface(configuration.read_text("utf-8"))
    checked.validate()
    for task in json.loads(tasks.read_bytes()):
        (prediction,) = task["predictions"]
        assert checked.validate_task({"data": task["data"]})
        assert checked.validate_prediction(prediction, return_errors=True) == []
        if prediction["result"]:
            prediction["result"][0]["value"]["rectanglelabels"] = ["unicorn"]
            assert checked.validate_prediction(prediction, return_errors=True)


def test_label_studio_converts_its_tasks(first: Path, tmp_path: Path) -> None:
    """Its own converter to COCO, after a person has accepted the predictions."""
    converter = pytest.importorskip("label_studio_sdk.converter", reason="label-studio-sdk is not installed")
    records = _made(first)
    tasks, configuration = _write(first, "labelstudio", tmp_path)
    accepted = [
        {"id": number, "data": task["data"], "annotations": [task["predictions"][0] | {"id": number}]}
        for number, task in enumerate(json.loads(tasks.read_bytes()), start=1)
    ]
    tasks.write_text(json.dumps(accepted), "utf-8")
    made = converter.Converter(configuration.read_text("utf-8"), str(tmp_path), download_resources=False)
    made.convert_to_coco(str(tasks), str(tmp_path / "coco"), is_dir=False)
    coco = json.loads((tmp_path / "coco/result.json").read_bytes())
    names = {category["id"]: category["name"] for category in coco["categories"]}
    found: Boxes = {image["file_name"]: [] for image in coco["images"]}
    images = {image["id"]: image["file_name"] for image in coco["images"]}
    for item in coco["annotations"]:
        x, y, across, down = item["bbox"]
        edges = (x, y, x + across, y + down)
        found[images[item["image_id"]]].append(_sixteenths(names[item["category_id"]], *edges))
    wanted = {record.image: _edges(record) for record in records.values() if record.boxes}
    assert {image: boxes for image, boxes in found.items() if boxes} == wanted


def test_fiftyone_reads_cvat(first: Path, tmp_path: Path) -> None:
    reader = pytest.importorskip("fiftyone.utils.cvat", reason="fiftyone is not installed")
    """It rounds edges to whole pixels, halves to the even one."""
    records = _made(first, DEEP)
    path, _ = _write(first, "cvat", tmp_path)
    _, labels, images = reader.load_cvat_image_annotations(str(path))
    assert [label["name"] for label in labels.labels] == list(CLASSES)
    assert {
        image.name: [(box.label, box.xtl, box.ytl, box.xbr, box.ybr) for box in image.boxes] for image in images
    } == {key: [(label, *map(round, edges)) for label, *edges in _edges(record)] for key, record in records.items()}
    scores = {image.name: [box.attributes[0].value for box in image.boxes] for image in images}
    assert scores == {key: [box.score for box in record.boxes] for key, record in records.items()}


def test_fiftyone_reads_label_studio(first: Path, tmp_path: Path) -> None:
    reader = pytest.importorskip("fiftyone.utils.labelstudio", reason="fiftyone is not installed")
    records = {record.image: record for record in _made(first).values()}
    for task in json.loads(_write(first, "labelstudio", tmp_path)[0].read_bytes()):
        record = records[task["data"]["image"]]
        width, height = record.width or 0, record.height or 0
        found = []
        for region in task["predictions"][0]["result"]:
            _, box = reader.import_label_studio_annotation(region)
            x, y, across, down = box.bounding_box
            edges = (x * width, y * height, (x + across) * width, (y + down) * height)
            found.append(_sixteenths(box.label, *edges))
        assert found == _edges(record)
