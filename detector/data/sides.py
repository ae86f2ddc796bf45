"""Reads and writes splits.csv, which keeps every image of a source without splits on its side."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from detector.common.errors import AnnotationError
from detector.common.files import replaced
from detector.data.settings import SPLITS

# The side of images that belong to no split, because they resemble images of two.
LEFT_OUT = "left_out"
_COLUMNS = ("source", "image", "split", "dhash")


@dataclass(frozen=True)
class Side:
    """The split of one image, or LEFT_OUT, and its difference hash of 64 bits."""

    split: str
    dhash: int


# By the source's name and the image's name in it.
Sides = dict[tuple[str, str], Side]


def load_sides(path: Path) -> Sides:
    """Return the content of splits.csv, nothing if there is none.

    Raises AnnotationError, which names the file and the line.
    """
    sides: Sides = {}
    if not path.is_file():
        return sides
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        for row in rows:
            where = f"{path}: line {rows.line_num}"
            if row.keys() != set(_COLUMNS) or None in row.values():
                raise AnnotationError(f"{where}: must have the columns {', '.join(_COLUMNS)}; is it a conflict?")
            try:
                side = Side(row["split"], int.from_bytes(bytes.fromhex(row["dhash"]), "big"))
            except ValueError:
                raise AnnotationError(f"{where}: dhash must be 16 hex digits, not {row['dhash']!r}") from None
            if side.split not in (*SPLITS, LEFT_OUT) or side.dhash >> 64:
                raise AnnotationError(f"{where}: split must be one of {', '.join((*SPLITS, LEFT_OUT))}")
            if (key := (row["source"], row["image"])) in sides:
                raise AnnotationError(f"{where}: {row['image']} stands there twice: remove one of the lines")
            sides[key] = side
    return sides


def save_sides(sides: Sides, path: Path) -> None:
    """Write splits.csv with sorted lines, so that git shows what is new."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([*key, side.split, f"{side.dhash:016x}"] for key, side in sorted(sides.items()))
    with replaced(path) as file:
        file.write(text.getvalue().encode())
