"""Writes CSV: one row for each box."""

from __future__ import annotations

import csv
from io import TextIOWrapper
from typing import IO

from jobs.formats import QualityRecord, Record
from jobs.published_run import PublishedRun

QUALITY = tuple(QualityRecord.model_fields)
COLUMNS = (
    "run", "image", "etag", "image_width", "image_height", "label", "score", "x", "y", "width", "height", *QUALITY,
)  # fmt: skip
# A spreadsheet runs a cell that begins with one of these as a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write(run: PublishedRun, files: list[IO[bytes]]) -> None:
    """Write one file as RFC 4180 in UTF-8, with a header."""
    text = TextIOWrapper(files[0], encoding="utf-8", newline="")
    rows = csv.writer(text)  # it ends lines as the RFC says, and quotes a carriage return in a key
    rows.writerow(COLUMNS)
    for record in run.records():
        image = (record.run, record.image, plain(record.etag or ""), record.width, record.height)
        quality = quality_cells(record)
        rows.writerows(
            (*image, plain(box.label), box.score, box.x, box.y, box.width, box.height, *quality) for box in record.boxes
        )
    text.detach()  # this flushes, and leaves the file open


def quality_cells(record: Record) -> list[float | str | None]:
    """The values of the columns QUALITY, the same for all boxes of an image; None in records of an older version."""
    return [getattr(record.image_quality, name, None) for name in QUALITY]


def plain(text: str) -> str:
    """The text with an apostrophe before it if a spreadsheet would run it as a formula.

    Labels come from the artifact and ETags from the server, and may begin with anything; URIs begin with s3:// or a
    slash, and a run's name is hexadecimal.
    """
    return f"'{text}" if text.startswith(FORMULA) else text
