"""Every format is read back by its own tool, and holds exactly what the records say."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import resource
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from detector.data.annotations import load_coco
from jobs.convert import FORMATS, archive, coco, convert, files, parquet
from jobs.convert.sagemaker import whole_pixels
from jobs.convert.table import COLUMNS, QUALITY
from jobs.errors import StorageError
from jobs.formats import BoxRecord, Manifest, Record
from jobs.published_run import PublishedRun
from tests.jobs.formats.conftest import Runs, publish
from tests.jobs.helpers import Boxcar, records_of
from tests.support.artifacts import CLASSES

TEXTS = ("image", "etag", "perceptual_hash")


def _manifest(output: Path) -> Manifest:
    return Manifest.model_validate_json((output / "manifest.json").read_bytes())


def _rows(records: list[Record]) -> list[dict[str, Any]]:
    """One row a box, as a table should have them."""
    return [
        {"run": record.run, "image": record.image, "etag": record.etag, "image_width": record.width,
         "image_height": record.height, **box.model_dump(), **record.image_quality.model_dump()}
        for record in records if record.image_quality is not None for box in record.boxes
    ]  # fmt: skip


def _converted(boxcar: Boxcar, output: Path, to: str, folder: Path) -> list[Path]:
    """The files that the command names, which are all that it leaves."""
    printed = boxcar("convert", output, "--to", to, "--out", folder).stdout
    paths = sorted(folder.iterdir())
    assert printed.split("written")[1].strip() == ", ".join(map(str, paths))
    assert [path.name for path in paths] == [_manifest(output).run + suffix for suffix in FORMATS[to].suffixes]
    return paths


def test_csv(boxcar: Boxcar, made_runs: Runs, tmp_path: Path) -> None:
    (path,) = _converted(boxcar, made_runs.first, "csv", tmp_path / "new/folder")
    wanted = _rows(records_of(made_runs.first))
    assert any("\n" in row["image"] for row in wanted)
    with path.open(newline="", encoding="utf-8") as file:
        assert [tuple(row) for row in csv.reader(file)] == [COLUMNS] + [
            tuple(str(row[name]) for name in COLUMNS) for row in wanted
        ]
    assert pd.read_csv(path, dtype={"run": str, "etag": str, "perceptual_hash": str}).to_dict("records") == wanted
    table = duckdb.read_csv(str(path), dtype={"run": "VARCHAR", "perceptual_hash": "VARCHAR"})
    assert table.columns == list(COLUMNS)
    assert table.fetchall() == [tuple(row[name] for name in COLUMNS) for row in wanted]


def test_a_csv_for_excel(boxcar: Boxcar, made_runs: Runs, tmp_path: Path) -> None:
    """Excel takes a CSV file for the system's old encoding unless it begins with a byte order mark."""
    (plain,) = _converted(boxcar, made_runs.first, "csv", tmp_path / "plain")
    boxcar("convert", made_runs.first, "--to", "csv", "--bom", "--out", tmp_path / "excel")
    (marked,) = (tmp_path / "excel").iterdir()
    assert marked.read_bytes() == b"\xef\xbb\xbf" + plain.read_bytes()
    assert "ü" in marked.read_text("utf-8-sig") and marked.read_text("utf-8-sig").startswith("run,image,")
    pd.testing.assert_frame_equal(pd.read_csv(marked), pd.read_csv(plain))
    for to in ("parquet", "coco"):
        printed = boxcar("convert", made_runs.first, "--to", to, "--bom", "--out", tmp_path / to, code=2).stderr
        assert f"--bom is for --to csv, not for --to {to}" in printed and not (tmp_path / to).exists()


def test_a_cell_never_begins_like_a_formula(boxcar: Boxcar, first: Path, tmp_path: Path) -> None:
    """Labels and ETags may begin with anything; images begin with s3:// or /. Parquet has them as they are."""
    record = next(record for record in records_of(first) if record.boxes)
    label, etag, key = '=HYPERLINK("http://x")', "-CKicn4fknugCEAE=", "+1\r.png"
    box = record.boxes[0].model_copy(update={"label": label})
    image = record.image.replace("0001.png", key)
    publish(first, [record.model_copy(update={"boxes": [box], "etag": etag, "image": image})], boxes={label: 1})
    (path,) = _converted(boxcar, first, "csv", tmp_path / "csv")
    with path.open(newline="", encoding="utf-8") as file:
        _, row = csv.reader(file)
    assert row[1:3] == [image, f"'{etag}"] and row[5] == f"'{label}"
    texts = [cell for name, cell in zip(COLUMNS, row, strict=True) if name in ("image", "etag", "label")]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in texts)
    numbers = [cell for name, cell in zip(COLUMNS, row, strict=True) if name in ("score", "x", *QUALITY[:-1])]
    assert all(math.isfinite(float(cell)) for cell in numbers)  # a number may be negative, and is no formula
    (path,) = _converted(boxcar, first, "parquet", tmp_path / "parquet")
    (exact,) = pyarrow.parquet.read_table(path).to_pylist()
    assert (exact["image"], exact["etag"], exact["label"]) == (image, etag, label)


def test_parquet(boxcar: Boxcar, made_runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP", 7)
    (path,) = _converted(boxcar, made_runs.first, "parquet", tmp_path)
    wanted = _rows(records_of(made_runs.first))
    assert pyarrow.parquet.read_table(path).to_pylist() == wanted
    assert duckdb.read_parquet(str(path)).fetchall() == [tuple(row[name] for name in COLUMNS) for row in wanted]
    with pyarrow.parquet.ParquetFile(path) as file:
        assert file.metadata.num_row_groups == -(-len(wanted) // 7)
        about = json.loads(file.schema_arrow.metadata[b"boxcar"])
    frame = pd.read_parquet(path)
    assert {name: str(kind) for name, kind in frame.dtypes.items() if name not in TEXTS} == {
        "run": "category", "label": "category", "image_width": "int32", "image_height": "int32", "score": "float64",
        "x": "float32", "y": "float32", "width": "float32", "height": "float32",
        **dict.fromkeys(QUALITY[:-1], "float64"),
    }  # fmt: skip
    manifest = _manifest(made_runs.first).model_dump(mode="json", by_alias=True, exclude={"parts"})
    assert about == manifest and about["lineage"]["artifact_sha256"]


def test_parquet_needs_the_extra(
    boxcar: Boxcar, made_runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = boxcar("convert", made_runs.first, "--to", "parquet", "--out", tmp_path, code=2)
    assert "pip install '.[parquet]'" in result.stderr
    assert not list(tmp_path.iterdir())


def test_coco_is_read_back_by_pycocotools(boxcar: Boxcar, made_runs: Runs, tmp_path: Path) -> None:
    images, results = _converted(boxcar, made_runs.first, "coco", tmp_path)
    records = records_of(made_runs.first)
    dataset = COCO(str(images))
    found = dataset.loadRes(str(results))
    ok = {number: record for number, record in enumerate(records, start=1) if record.status == "ok"}
    assert len(ok) == len(records) - 1
    assert sorted(found.getImgIds()) == list(ok)
    assert [(item["id"], item["name"]) for item in found.loadCats(found.getCatIds())] == list(enumerate(CLASSES, 1))
    for number, record in ok.items():
        (image,) = dataset.loadImgs(number)
        assert record.image == f"{made_runs.photos}/{image['file_name']}" == image["coco_url"]
        assert (image["width"], image["height"]) == (record.width, record.height)
        boxes = found.loadAnns(found.getAnnIds(imgIds=[number]))
        assert [
            (CLASSES[box["category_id"] - 1], box["score"], *box["bbox"]) for box in boxes
        ] == [tuple(box.model_dump().values()) for box in record.boxes]  # fmt: skip
    info, lineage = dataset.dataset["info"], _manifest(made_runs.first).lineage
    assert info["version"] == _manifest(made_runs.first).run
    assert (info["plan_digest"], info["artifact_sha256"]) == (lineage.plan_digest, lineage.artifact_sha256)


def test_one_coco_file_has_what_the_two_have(boxcar: Boxcar, made_runs: Runs, tmp_path: Path) -> None:
    images, results = _converted(boxcar, made_runs.first, "coco", tmp_path / "two")
    (one,) = _converted(boxcar, made_runs.first, "coco-annotations", tmp_path / "one")
    whole = json.loads(one.read_bytes())
    found = json.loads(results.read_bytes())
    assert whole | {"annotations": []} == json.loads(images.read_bytes())
    assert whole["annotations"] == [
        {"id": number, **box, "area": box["bbox"][2] * box["bbox"][3], "iscrowd": 0, "segmentation": []}
        for number, box in enumerate(found, start=1)
    ]
    assert found
    dataset = COCO(str(one))
    assert [dataset.anns[box["id"]]["score"] for box in whole["annotations"]] == [box["score"] for box in found]
    truth = load_coco(one)  # our own reader too
    assert truth.classes == CLASSES and sum(len(image.boxes) for image in truth.images) == len(found)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["coco-annotations", "cvat", "labelstudio", "voc", "yolo"])
def test_memory_does_not_grow_with_the_run(
    first: Path, tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (archive, coco, files):  # so that the buffers are not most of it
        monkeypatch.setattr(module, "BUFFER_BYTES", 8192)
    record = next(record for record in records_of(first) if record.boxes)
    peaks = []
    for count in (150, 1500):
        publish(first, [record.model_copy(update={"image": f"{record.image}{i}"}) for i in range(count)], part_size=2)
        run = PublishedRun.open(str(first))
        convert(run, to, tmp_path)  # once before, for what is loaded once
        measured = []
        for _ in range(2):  # the smaller one, because what runs beside it in this process may be measured too
            tracemalloc.start()
            path, *_ = convert(run, to, tmp_path)
            measured.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        peaks.append(min(measured))
        assert path.stat().st_size > count * 40 * len(record.boxes)
    assert peaks[1] < 1.5 * peaks[0]


def test_coco_without_boxes(first: Path, tmp_path: Path) -> None:
    """Valid JSON; pycocotools reads the images, and cannot read an empty list of results from any writer."""
    publish(first, [record.model_copy(update={"boxes": []}) for record in records_of(first)])
    images, results = convert(PublishedRun.open(str(first)), "coco", tmp_path)
    assert json.loads(results.read_bytes()) == []
    assert len(COCO(str(images)).imgs) == 10
    with pytest.raises(IndexError):
        COCO(str(images)).loadRes(str(results))


@pytest.mark.parametrize("to", FORMATS)
def test_a_run_without_images(first: Path, tmp_path: Path, to: str) -> None:
    publish(first, [])
    for path in convert(PublishedRun.open(str(first)), to, tmp_path):
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        elif to == "parquet":
            assert pyarrow.parquet.read_table(path).num_rows == 0
        elif path.suffix == ".xml":
            ElementTree.parse(path)
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as found:
                assert not [name for name in found.namelist() if name.startswith(("labels/", "Annotations/"))]
        else:
            assert path.read_text().splitlines() == ([",".join(COLUMNS)] if to == "csv" else [])


def test_sagemaker(boxcar: Boxcar, first: Path, tmp_path: Path) -> None:
    local = records_of(first)
    prefix = f"{local[0].image.rpartition('/photos/')[0]}/photos/"
    records = [record.model_copy(update={"image": record.image.replace(prefix, "s3://photos/")}) for record in local]
    publish(first, records, input="s3://photos/", published_at="2024-06-02T01:30:00+02:00")
    (path,) = _converted(boxcar, first, "sagemaker", tmp_path / "out")
    assert "warning" not in boxcar("convert", first, "--to", "sagemaker", "--out", tmp_path / "out").stderr
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    ok = [record for record in records if record.status == "ok"]
    assert len(lines) == len(ok) < len(records)
    for line, record in zip(lines, ok, strict=True):
        assert list(line) == ["source-ref", "boxcar", "boxcar-metadata"]
        assert line["source-ref"] == record.image
        label, metadata = line["boxcar"], line["boxcar-metadata"]
        assert label["image_size"] == [{"width": record.width, "height": record.height, "depth": 3}]
        assert metadata["objects"] == [{"confidence": box.score} for box in record.boxes]
        assert metadata["class-map"] == {
            str(CLASSES.index(name)): name for name in CLASSES if name in {box.label for box in record.boxes}
        }
        assert {key: metadata[key] for key in ("type", "human-annotated", "creation-date", "job-name")} == {
            "type": "groundtruth/object-detection",
            "human-annotated": "no",
            "creation-date": "2024-06-01T23:30:00",
            "job-name": f"boxcar-{record.run}",
        }
        for found, box in zip(label["annotations"], record.boxes, strict=True):
            assert list(found) == ["class_id", "left", "top", "width", "height"]
            assert found["class_id"] == CLASSES.index(box.label)
            edges = (found["left"], found["top"], found["left"] + found["width"], found["top"] + found["height"])
            exact = (box.x, box.y, box.x + box.width, box.y + box.height)
            assert np.abs(np.subtract(edges, exact)).max() <= 0.5


SIXTEENTHS = st.integers(-400, 1200).map(lambda sixteenths: sixteenths / 16)


@given(x=SIXTEENTHS, y=SIXTEENTHS, width=SIXTEENTHS, height=SIXTEENTHS, size=st.integers(1, 60))
def test_whole_pixels_lie_inside_the_image(x: float, y: float, width: float, height: float, size: int) -> None:
    """Also of the boxes that a rejected run may hold."""
    box = BoxRecord(label="a", score=1, x=x, y=y, width=width, height=height)
    found = whole_pixels(box, size, 2 * size)
    assert all(isinstance(value, int) for value in found.values())
    assert 0 <= found["left"] < found["left"] + found["width"] <= size
    assert 0 <= found["top"] < found["top"] + found["height"] <= 2 * size
    if x >= 0 and 1 <= width <= size - x:
        assert abs(found["left"] - x) <= 0.5 and abs(found["left"] + found["width"] - x - width) <= 0.5


def test_images_in_a_folder_are_not_for_sagemaker_as_they_are(boxcar: Boxcar, made_runs: Runs, tmp_path: Path) -> None:
    printed = boxcar("convert", made_runs.first, "--to", "sagemaker", "--out", tmp_path).stderr
    assert f"the images lie in {made_runs.photos}/, and SageMaker reads s3:// only" in printed


def test_a_rejected_run_is_converted_with_a_warning(boxcar: Boxcar, first: Path, tmp_path: Path) -> None:
    publish(first, records_of(first), status="rejected")
    result = boxcar("convert", first, "--to", "csv", "--out", tmp_path)
    assert "published as rejected" in result.stderr and ", rejected" in result.stdout
    assert len(list(tmp_path.glob("*.csv"))) == 1


WITH_LABELS = [to for to in FORMATS if to not in ("csv", "parquet")]


@pytest.mark.parametrize("to", WITH_LABELS)
def test_a_label_that_the_manifest_does_not_list(boxcar: Boxcar, first: Path, tmp_path: Path, to: str) -> None:
    record = next(record for record in records_of(first) if record.boxes)
    box = record.boxes[0].model_copy(update={"label": "unicorn"})
    publish(first, [record.model_copy(update={"boxes": [box]})])
    assert "lists no label 'unicorn'" in boxcar("convert", first, "--to", to, "--out", tmp_path, code=2).stderr
    assert not list(tmp_path.glob("*unicorn*")) and not [path for path in tmp_path.iterdir() if path.is_file()]


@pytest.mark.parametrize("to", ["cvat", "labelstudio", "sagemaker", "voc", "yolo"])
def test_formats_that_need_the_size_of_an_image(boxcar: Boxcar, first: Path, tmp_path: Path, to: str) -> None:
    record = next(record for record in records_of(first) if record.boxes)
    publish(first, [record.model_copy(update={"width": None})])
    result = boxcar("convert", first, "--to", to, "--out", tmp_path, code=2)
    assert record.image in result.stderr and "convert to csv" in result.stderr


def test_again_replaces_and_a_failure_keeps(
    boxcar: Boxcar, made_runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = _converted(boxcar, made_runs.first, "csv", tmp_path)
    good = path.read_bytes()
    path.write_text("old")
    convert(PublishedRun.open(str(made_runs.first)), "csv", tmp_path)
    assert path.read_bytes() == good
    path.write_text("old")

    def full(_handle: int) -> None:
        assert not {seen.name for seen in tmp_path.iterdir() if not seen.name.startswith(".")} - {path.name}
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="cannot be written: No space left on device; check permissions and space"):
        convert(PublishedRun.open(str(made_runs.first)), "csv", tmp_path)
    assert [seen.name for seen in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "old"


@pytest.mark.parametrize("to", FORMATS)
def test_a_disk_that_is_full_in_the_middle(first: Path, tmp_path: Path, to: str) -> None:
    """The write itself fails, also within pyarrow."""
    record = next(record for record in records_of(first) if record.boxes)
    many = [record.model_copy(update={"image": f"{record.image}{number:05d}"}) for number in range(2000)]
    publish(first, many, part_size=1000)
    run = PublishedRun.open(str(first))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, limits[1]))  # Python ignores SIGXFSZ: writes fail with EFBIG
    try:
        with pytest.raises(StorageError, match="cannot be written: File too large"):
            convert(run, to, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "out").iterdir())


def test_where_no_file_can_be(boxcar: Boxcar, made_runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    printed = boxcar("convert", made_runs.first, "--to", "csv", "--out", tmp_path / "file/sub", code=5).stderr
    assert f"{tmp_path}/file/sub: " in printed and "--out" in printed
    assert "--out s3://b/: give a folder" in boxcar(
        "convert", made_runs.first, "--to", "csv", "--out", "s3://b/", code=2
    ).stderr  # fmt: skip


def test_from_a_bucket_into_this_folder(
    boxcar: Boxcar, made_runs: Runs, moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket="boxes")
    for path in made_runs.first.rglob("*"):
        if path.is_file():
            key = f"run/{path.relative_to(made_runs.first).as_posix()}"
            client.put_object(Bucket="boxes", Key=key, Body=path.read_bytes())
    monkeypatch.chdir(tmp_path)
    boxcar("convert", "s3://boxes/run/", "--to", "coco")
    there = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    boxcar("convert", made_runs.first, "--to", "coco", "--out", tmp_path / "local")
    assert there == {path.name: path.read_bytes() for path in (tmp_path / "local").iterdir()}
