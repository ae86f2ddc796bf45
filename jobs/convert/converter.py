"""The table of formats, and the function that writes any of them."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from jobs.convert import coco, cvat, labelstudio, parquet, sagemaker, table, voc, yolo
from jobs.convert.files import appearing
from jobs.published_run import PublishedRun


@dataclass(frozen=True)
class Format:
    """One format: the suffixes of its files' names, and the function that fills the files, in this order."""

    suffixes: tuple[str, ...]
    write: Callable[[PublishedRun, list[IO[bytes]]], None]


FORMATS = {
    "coco": Format((".images.json", ".results.json"), coco.write),
    "coco-annotations": Format((".coco.json",), coco.write_annotations),
    "csv": Format((".csv",), table.write),
    "cvat": Format((".cvat.xml", ".cvat-labels.json"), cvat.write),
    "labelstudio": Format((".labelstudio.json", ".labelstudio-config.xml"), labelstudio.write),
    "parquet": Format((".parquet",), parquet.write),
    "sagemaker": Format((".manifest",), sagemaker.write),
    "voc": Format((".voc.zip",), voc.write),
    "yolo": Format((".yolo.zip",), yolo.write),
}


def convert(run: PublishedRun, to: str, folder: Path, *, bom: bool = False) -> list[Path]:
    """Write the run's boxes to files in `folder`, which bear the run's name; `to` is a key of FORMATS.

    bom: begin the first file with UTF-8's byte order mark, which Excel needs in a CSV file.
    Memory does not grow with the number of images. Files appear when they are complete. Raises what
    `PublishedRun.records` raises, and StorageError when a file cannot be written; earlier files are kept then.
    """
    paths = [folder / (run.manifest.run + suffix) for suffix in FORMATS[to].suffixes]
    with appearing(paths) as files:
        if bom:
            files[0].write(codecs.BOM_UTF8)
        FORMATS[to].write(run, files)
    return paths
