"""Plans from an S3 Inventory report: the same as from a listing, and clear errors for what cannot be read."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pyarrow
import pyarrow.parquet
import pytest

from jobs import inventory
from jobs.formats import Plan
from tests.conftest import Bucket
from tests.jobs.helpers import Boxcar, write_photos

pytestmark = pytest.mark.slow

Row = dict[str, Any]
PARQUET_NAMES = {
    "Bucket": "bucket", "Key": "key", "VersionId": "version_id", "IsLatest": "is_latest",
    "IsDeleteMarker": "is_delete_marker", "Size": "size", "ETag": "e_tag", "StorageClass": "storage_class",
}  # fmt: skip


def _csv(rows: list[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    for row in rows:
        shown = {name: str(value).lower() if isinstance(value, bool) else value for name, value in row.items()}
        writer.writerow((shown | {"Key": quote_plus(row["Key"], safe="/")}).values())
    return gzip.compress(text.getvalue().encode())


def _parquet(rows: list[Row]) -> bytes:
    sink = io.BytesIO()
    table = pyarrow.Table.from_pylist([{PARQUET_NAMES[name]: value for name, value in row.items()} for row in rows])
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue()


FORMATS: dict[str, Callable[[list[Row]], bytes]] = {"CSV": _csv, "Parquet": _parquet}


def _report(bucket: Bucket, format: str, rows: list[Row], split: int = 1, **change: object) -> str:
    """Write a report of the bucket on itself; the URI of its manifest."""
    listed = []
    folder = bucket.folder.parent.parent / f"inventory-{bucket.folder.name}"
    (folder / "data").mkdir(parents=True)
    for number in range(split):
        data = FORMATS[format](rows[number::split])
        key = f"inventory/data/{number}"
        (folder / f"data/{number}").write_bytes(data)
        listed.append({"key": key, "size": len(data), "MD5checksum": hashlib.md5(data).hexdigest()})
    manifest = {
        "sourceBucket": bucket.folder.name,
        "destinationBucket": f"arn:aws:s3:::{bucket.folder.name}",
        "version": "2016-11-30",
        "creationTimestamp": "1514944800000",
        "fileFormat": format,
        "fileSchema": ", ".join(rows[0]) if format == "CSV" else "message s3.inventory { required binary key (UTF8); }",
        "files": listed,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest | change))
    bucket.upload(folder, "inventory")
    return f"{bucket.uri}/inventory/manifest.json"


def _rows(bucket: Bucket) -> list[Row]:
    """What S3 would say of every object in the bucket."""
    return [
        {
            "Bucket": bucket.folder.name,
            "Key": path.relative_to(bucket.folder).as_posix(),
            "VersionId": "v",
            "IsLatest": True,
            "IsDeleteMarker": False,
            "Size": path.stat().st_size,
            "ETag": hashlib.md5(path.read_bytes()).hexdigest(),
            "StorageClass": "STANDARD",
        }
        for path in sorted(bucket.folder.rglob("*"), reverse=True)
        if path.is_file()
    ]


@pytest.fixture
def photos(bucket: Bucket, tmp_path: Path) -> Bucket:
    folder = write_photos(tmp_path / "photos", 5)
    for name in ("a b+c%.png", "é 雪.PNG", 'notes, with a "quote".txt'):
        (folder / name).write_bytes(b"x")
    (tmp_path / "photos-not").mkdir()
    (tmp_path / "photos-not/1.png").write_bytes(b"x")
    bucket.upload(tmp_path, "in")
    return bucket


def _plan(folder: Path) -> Plan:
    return Plan.model_validate_json((folder / "plan.json").read_bytes())


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_plan_as_from_the_listing(
    boxcar: Boxcar, artifact: Path, photos: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    monkeypatch.setattr("jobs.storage.s3.DOWNLOAD_BYTES", 100)  # a file comes in pieces
    monkeypatch.setattr(inventory, "BATCH", 2)
    rows = _rows(photos)
    old = [row | {"IsLatest": False, "ETag": "old"} for row in rows[:2]]
    deleted = [
        rows[0] | {"Key": "in/photos/deleted.png", "IsDeleteMarker": True, "Size": "" if format == "CSV" else None}
    ]
    uri = _report(photos, format, rows + old + deleted, split=2)
    arguments = (f"{photos.uri}/in/photos", "--model", artifact)
    boxcar("plan", *arguments[:1], tmp_path / "listed", *arguments[1:])
    boxcar("plan", *arguments[:1], tmp_path / "report", *arguments[1:], "--inventory", uri)
    listed, report = _plan(tmp_path / "listed"), _plan(tmp_path / "report")
    assert (report.images, report.other_files, report.parts) == (7, 1, listed.parts)
    assert report.inventory == uri and report.digest != listed.digest
    refused = boxcar("plan", *arguments[:1], tmp_path / "report", *arguments[1:], code=2).stderr
    assert f"--inventory is {uri} there, none here" in refused


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.slow
def test_without_etags(boxcar: Boxcar, artifact: Path, photos: Bucket, tmp_path: Path, format: str) -> None:
    """And without the columns of versions: those reports list current versions alone."""
    rows = [{name: row[name] for name in ("Bucket", "Key", "Size")} for row in _rows(photos)]
    uri = _report(photos, format, rows)
    boxcar("run", f"{photos.uri}/in/photos/sub", tmp_path / "run", "--model", artifact, "--inventory", uri)
    (part,) = (tmp_path / "run/plan").iterdir()
    assert [json.loads(line)["etag"] for line in part.read_text().splitlines()] == [None, None]
    records = [json.loads(line) for line in (tmp_path / "run/boxes/part-0000000.jsonl").read_text().splitlines()]
    assert [record["status"] for record in records] == ["ok", "ok"] and all(record["etag"] for record in records)


def test_an_object_that_is_reported_twice(boxcar: Boxcar, artifact: Path, photos: Bucket, tmp_path: Path) -> None:
    rows = _rows(photos)
    uri = _report(photos, "CSV", rows + rows[-1:])
    source = f"{photos.uri}/"
    result = boxcar("plan", source, tmp_path / "run", "--model", artifact, "--inventory", uri, code=5)
    assert f"{source}{rows[-1]['Key']}: listed twice" in result.stderr


def _refusal(boxcar: Boxcar, artifact: Path, bucket: Bucket, output: Path, uri: object, code: int) -> str:
    result = boxcar("plan", f"{bucket.uri}/in/photos", output, "--model", artifact, "--inventory", uri, code=code)
    (line,) = result.stderr.splitlines()
    assert not (output / "plan.json").exists()
    return line


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sourceBucket": "others"}, "lists s3://others/"),
        ({"fileFormat": "ORC"}, "is in ORC"),
        ({"fileFormat": "XML"}, "not the manifest.json of an S3 Inventory"),
        ({"files": [{"key": "x"}]}, "not the manifest.json of an S3 Inventory"),
        ({"fileSchema": "Bucket, Key"}, "has no column Size"),
    ],
)
def test_a_report_that_cannot_be_used(
    boxcar: Boxcar, artifact: Path, photos: Bucket, tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    uri = _report(photos, "CSV", _rows(photos), **change)
    assert reason in _refusal(boxcar, artifact, photos, tmp_path / "run", uri, 2)


def test_a_parquet_report_without_sizes(boxcar: Boxcar, artifact: Path, photos: Bucket, tmp_path: Path) -> None:
    uri = _report(photos, "Parquet", [{"Bucket": row["Bucket"], "Key": row["Key"]} for row in _rows(photos)])
    assert "has no column Size" in _refusal(boxcar, artifact, photos, tmp_path / "run", uri, 2)


@pytest.mark.parametrize("uri", ["inventory/manifest.json", "s3://bucket/inventory/", "{bucket}/inventory/none.json"])
def test_a_report_that_is_not_there(boxcar: Boxcar, artifact: Path, photos: Bucket, tmp_path: Path, uri: str) -> None:
    line = _refusal(boxcar, artifact, photos, tmp_path / "run", uri.format(bucket=photos.uri), 2)
    assert "manifest.json" in line


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("damage", ["changed", "missing", "cut"])
def test_a_damaged_data_file(
    boxcar: Boxcar, artifact: Path, photos: Bucket, tmp_path: Path, format: str, damage: str
) -> None:
    uri = _report(photos, format, _rows(photos))
    path = "inventory/data/0"
    data = (photos.folder / path).read_bytes()
    match damage:
        case "changed":
            photos.put(path, bytes([data[0] ^ 1]) + data[1:])
        case "missing":
            photos.delete(path)
        case "cut":  # with the MD5 of what is left
            photos.put(path, data[: len(data) // 2])
            listed = {
                "key": path,
                "size": len(data) // 2,
                "MD5checksum": hashlib.md5(data[: len(data) // 2]).hexdigest(),
            }
            manifest = json.loads((photos.folder / "inventory/manifest.json").read_bytes())
            photos.put("inventory/manifest.json", json.dumps(manifest | {"files": [listed]}).encode())
    reason = {"changed": "its MD5 is not", "missing": "missing", "cut": "cannot be read"}[damage]
    assert f"{photos.uri}/{path}: {reason}" in _refusal(boxcar, artifact, photos, tmp_path / "run", uri, 5)


def test_parquet_needs_the_extra(
    boxcar: Boxcar, artifact: Path, photos: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = _report(photos, "Parquet", _rows(photos))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install '.[parquet]'" in _refusal(boxcar, artifact, photos, tmp_path / "run", uri, 2)


def test_a_folder_has_no_inventory(boxcar: Boxcar, artifact: Path, photos: Bucket, tmp_path: Path) -> None:
    uri = _report(photos, "CSV", _rows(photos))
    folder = write_photos(tmp_path / "folder", 1)
    result = boxcar("plan", folder, tmp_path / "run", "--model", artifact, "--inventory", uri, code=2)
    assert f"not INPUT {folder}/" in result.stderr
