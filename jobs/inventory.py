"""Reads an S3 Inventory report, which S3 writes once a day or a week, in place of listing a bucket.

The report is a manifest.json that names data files with their MD5. A hundred million keys take 100,000 requests to
list, and about a hundred of these files.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import tempfile
import zlib
from collections.abc import Generator, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote_plus

from pydantic import BaseModel, Field, ValidationError

from jobs.errors import StorageError, UsageError
from jobs.formats import summary
from jobs.parquet import import_parquet
from jobs.storage import Entry, S3Store, Store, split_uri

# Rows of a Parquet file that are held in memory.
BATCH = 10_000
# The columns that are read, as CSV and Parquet call them.
COLUMNS = {
    "Bucket": "bucket",
    "Key": "key",
    "IsLatest": "is_latest",
    "IsDeleteMarker": "is_delete_marker",
    "Size": "size",
    "ETag": "e_tag",
}
# One row of a report, by the column names that Parquet uses.
InventoryRow = dict[str, Any]


class _DataFile(BaseModel):
    key: str  # within the destination bucket
    md5: str = Field(alias="MD5checksum")


class _Report(BaseModel):
    """The fields of an inventory's manifest.json that are used."""

    source_bucket: str = Field(alias="sourceBucket")
    destination_bucket: str = Field(alias="destinationBucket")  # an ARN
    format: Literal["CSV", "Parquet", "ORC"] = Field(alias="fileFormat")
    file_schema: str = Field(alias="fileSchema")
    files: list[_DataFile]


def read_inventory(uri: str, source: Store) -> Iterator[Entry]:
    """Every current object below `source` that the report names, in no particular order. ETags may be missing.

    Raises UsageError when the report is of another bucket, lacks the sizes, or has a format that is not read here;
    StorageError when one of its files is missing or damaged.
    """
    report = _read_report(uri)
    if not isinstance(source, S3Store) or source.bucket != report.source_bucket:
        raise UsageError(f"--inventory {uri}: lists s3://{report.source_bucket}/, not INPUT {source.uri}; name another")
    columns = _csv_columns(uri, report) if report.format == "CSV" else []
    if report.format == "Parquet":
        import_parquet("--inventory")  # says what is missing before anything is downloaded
    store = S3Store(f"s3://{report.destination_bucket.rpartition(':')[2]}/")
    for file in report.files:
        with _downloaded(store, file) as path:
            name = store.uri + file.key
            rows = _csv_rows(path, columns, name) if report.format == "CSV" else _parquet_rows(path, name)
            with contextlib.closing(rows):
                for row in rows:
                    entry = _entry(row, source, name)
                    if entry is not None:
                        yield entry


def _read_report(uri: str) -> _Report:
    if not uri.startswith("s3://") or not uri.endswith(".json"):
        raise UsageError(f"--inventory {uri}: give the URI of the report's manifest, s3://bucket/.../manifest.json")
    store, key = split_uri(uri)
    data = store.read(key)
    if data is None:
        raise UsageError(f"--inventory {uri}: no such object; give the URI of the report's manifest.json")
    try:
        report = _Report.model_validate_json(data)
    except ValidationError as error:
        raise UsageError(
            f"--inventory {uri}: not the manifest.json of an S3 Inventory: {summary(error)}; check the URI"
        ) from error
    if report.format == "ORC":
        raise UsageError(f"--inventory {uri}: is in ORC, which is not read here; let S3 write CSV or Parquet")
    return report


def _csv_columns(uri: str, report: _Report) -> list[str | None]:
    """The name in `COLUMNS` of each column of the data files, which have no header; None for a column that is not
    used."""
    names = [name.strip() for name in report.file_schema.split(",")]
    for needed in ("Bucket", "Key", "Size"):
        if needed not in names:
            raise _without(uri, needed)
    return [COLUMNS.get(name) for name in names]


def _without(uri: str, column: str) -> UsageError:
    return UsageError(f"--inventory {uri}: has no column {column}; add it to the inventory's optional fields")


@contextlib.contextmanager
def _downloaded(store: S3Store, file: _DataFile) -> Iterator[Path]:
    """A data file in the temporary folder, checked against the MD5 in the manifest."""
    name = store.uri + file.key
    with tempfile.TemporaryDirectory(prefix="boxcar-") as folder:
        path = Path(folder, "inventory")
        try:
            if not store.download(file.key, path):
                raise StorageError(f"{name}: missing; plan from another inventory")
            with path.open("rb") as data:
                md5 = hashlib.file_digest(data, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except OSError as error:
            raise StorageError(
                f"{path}: cannot be written: {error.strerror}; let TMPDIR name a folder with more space"
            ) from error
        if md5 != file.md5.lower():
            raise StorageError(
                f"{name}: its MD5 is not that of the inventory's manifest.json; plan from another inventory"
            )
        yield path


def _csv_rows(path: Path, columns: list[str | None], name: str) -> Generator[InventoryRow]:
    try:
        with gzip.open(path) as binary, TextIOWrapper(binary, encoding="utf-8", newline="") as text:
            for values in csv.reader(text, strict=True):
                row: InventoryRow = {column: value for column, value in zip(columns, values, strict=True) if column}
                row["key"] = unquote_plus(row["key"], errors="strict")
                row |= {flag: row[flag] == "true" for flag in ("is_latest", "is_delete_marker") if flag in row}
                yield row
    except (OSError, EOFError, zlib.error, csv.Error, ValueError) as error:
        raise _damaged(name, error) from error


def _parquet_rows(path: Path, name: str) -> Generator[InventoryRow]:
    pyarrow, parquet = import_parquet("--inventory")
    try:
        with parquet.ParquetFile(path) as file:
            there = [column for column in COLUMNS.values() if column in file.schema_arrow.names]
            for needed in ("Bucket", "Key", "Size"):
                if COLUMNS[needed] not in there:
                    raise _without(name, needed)
            for batch in file.iter_batches(BATCH, columns=there):
                for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    yield dict(zip(there, values, strict=True))
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> StorageError:
    reason = " ".join(str(error).split())
    return StorageError(f"{name}: cannot be read: {reason}; plan from another inventory")


def _entry(row: InventoryRow, source: S3Store, name: str) -> Entry | None:
    """The listed object, or None for an older version, a delete marker, or a key outside the prefix."""
    if row["bucket"] != source.bucket:
        raise UsageError(f"{name}: lists s3://{row['bucket']}/, not INPUT's bucket; name another inventory")
    if not row.get("is_latest", True) or row.get("is_delete_marker") or not row["key"].startswith(source.prefix):
        return None
    try:
        size = int(row["size"])
    except (TypeError, ValueError) as error:
        raise StorageError(f"{name}: {row['key']!r} has no size; plan from another inventory") from error
    return Entry(row["key"][len(source.prefix) :], size, row.get("e_tag") or None)
