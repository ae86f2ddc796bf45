"""Writes Parquet: one row for each box, with the columns of the CSV, typed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any

from jobs.convert.table import COLUMNS, QUALITY, quality_cells
from jobs.formats import Record
from jobs.parquet import import_parquet
from jobs.published_run import PublishedRun

# Rows that are held in memory, and that a reader reads at once: about 10 MB.
ROW_GROUP = 65_536


def write(run: PublishedRun, files: list[IO[bytes]]) -> None:
    """Write one file, whose metadata has the manifest without its parts, in JSON, as `boxcar`.

    Raises UsageError without pyarrow.
    """
    pyarrow, parquet = import_parquet("--to parquet")
    metadata = {"boxcar": json.dumps(run.manifest.model_dump(mode="json", by_alias=True, exclude={"parts"}))}
    schema = _schema(pyarrow).with_metadata(metadata)
    with parquet.ParquetWriter(files[0], schema, compression="zstd") as writer:
        rows = _rows(run.records())
        while group := list(islice(rows, ROW_GROUP)):
            columns = zip(*group, strict=True)
            arrays = [pyarrow.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))


def _schema(pyarrow: Any) -> Any:
    text, repeated = pyarrow.string(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    # Sixteenths of a pixel are exact in float32. Scores are decimal: `score >= 0.3` must mean what it means in JSON.
    pixels, whole, score = pyarrow.float32(), pyarrow.int32(), pyarrow.float64()
    quality = (text if name == "perceptual_hash" else pyarrow.float64() for name in QUALITY)
    types = (repeated, text, text, whole, whole, repeated, score, pixels, pixels, pixels, pixels, *quality)
    return pyarrow.schema(list(zip(COLUMNS, types, strict=True)))


def _rows(records: Iterator[Record]) -> Iterator[tuple[Any, ...]]:
    for record in records:
        image = (record.run, record.image, record.etag, record.width, record.height)
        quality = quality_cells(record)
        for box in record.boxes:
            yield *image, box.label, box.score, box.x, box.y, box.width, box.height, *quality
