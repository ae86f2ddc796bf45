"""CSV: one row a box."""

from __future__ import annotations

import csv
from io import TextIOWrapper
from typing import IO

from jobs.published_run import PublishedRun

COLUMNS = (
    "run", "image", "etag", "image_width", "image_height", "label", "score", "x", "y", "width", "height",
)  # fmt: skip
# With these a spreadsheet takes a cell for a formula, and carries it out.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write(run: PublishedRun, files: list[IO[bytes]]) -> None:
    """RFC 4180 in UTF-8, with a head; `files` is one file."""
    text = TextIOWrapper(files[0], encoding="utf-8", newline="")
    rows = csv.writer(text)  # ends lines as the RFC says, and so quotes a carriage return within a key
    rows.writerow(COLUMNS)
    for record in run.records():
        image = (record.run, record.image, plain(record.etag or ""), record.width, record.height)
        rows.writerows(
            (*image, plain(box.label), box.score, box.x, box.y, box.width, box.height) for box in record.boxes
        )
    text.detach()  # flushes, and leaves the file open


def plain(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe before one that begins like it.

    Labels come from the artifact and ETags from the server, and may begin with anything; URIs begin with s3:// or a
    slash, and a run's name is hexadecimal.
    """
    return f"'{text}" if text.startswith(FORMULA) else text
