"""Measure what decoding large JPEGs at a fraction of their size saves, and what it costs in average precision.

    python -m benchmarks.camera detector/artifacts/voc20

The photographs of a split that stage `fetch` made are laid out 2 x 2 and 4 x 4 as JPEGs of 12 megapixels, and each one
is enlarged four times. The detector looks at each JPEG twice: decoded at its full size, and as the batch job reads it.
A time is that of one thread's CPU.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks.models import Measured, open_artifact, processor
from benchmarks.mosaics import write_mosaics
from detector.common.progress import progress
from detector.data.annotations import CocoDataset, load_coco
from detector.evaluation.average_precision import evaluate_voc
from detector.runtime.detector import Detector, Image, read_for
from detector.runtime.images import decode_image
from detector.runtime.postprocess import Detections
from detector.stages import layout

IOUS = (0.5, 0.75)
# Name, photographs in a row, and height and width of each in pixels.
SETS = (
    ("2 x 2 photographs, 4000 x 3000", 2, (1500, 2000)),
    ("4 x 4 photographs, 4000 x 3000", 4, (750, 1000)),
    ("photographs, enlarged to 1600 pixels", 1, (1600, 1600)),
)


def read_whole(_: Detector, data: bytes) -> Image:
    """Decode an image at its full size."""
    return Image.whole(decode_image(data))


READERS: dict[str, Callable[[Detector, bytes], Image]] = {"full size": read_whole, "as the job": read_for}


def measure(artifact: Measured, folder: Path, truth: CocoDataset) -> list[str]:
    """Return a row of a table for each reader: AP at each of IOUS, and CPU milliseconds an image."""
    found: dict[str, dict[int, Detections]] = {name: {} for name in READERS}
    reading: dict[str, list[float]] = {name: [] for name in READERS}
    whole: dict[str, list[float]] = {name: [] for name in READERS}
    for info in progress(truth.images, len(truth.images), "measure"):
        data = (folder / info.file_name).read_bytes()
        for name, read in READERS.items():
            start = time.thread_time()
            image = read(artifact.detector, data)
            reading[name].append(time.thread_time() - start)
            found[name] |= artifact.look(info.id, image)
            whole[name].append(time.thread_time() - start)
    rows = []
    for name in READERS:
        voc = evaluate_voc(truth, found[name], IOUS)
        aps = " | ".join(f"{ap(iou):.4f}" for iou in IOUS for ap in (voc.map_11point, voc.map_all_point))
        times = " | ".join(f"{1000 * statistics.median(each[name]):.1f}" for each in (reading, whole))
        rows.append(f"{name} | {aps} | {times}")
    return rows


_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("artifact", type=_FOLDER)
@click.option("--dataset", type=_FOLDER, default=layout.DATASET, show_default=True)
@click.option("--split", default="test", show_default=True)
def main(artifact: Path, dataset: Path, split: str) -> None:
    """Compare both ways to decode large JPEGs for one artifact."""
    truth = load_coco(dataset / f"{split}.json")
    opened = open_artifact(artifact, False, truth)
    print(f"{len(truth.images)} photographs of {split}, {opened.name}; {processor()}, one thread\n")
    columns = [f"AP@{iou}, {rule}" for iou in IOUS for rule in ("11-point", "all-point")]
    print("| JPEGs | decoded |", " | ".join(columns), "| CPU ms to read, median | to read and detect |")
    print("| --- | --- |", "---: | " * (len(columns) + 2))
    for title, grid, cell in SETS:
        with tempfile.TemporaryDirectory() as scratch:
            large = write_mosaics(truth, dataset / "images", Path(scratch), grid=grid, cell=cell, title="draw")
            for row in measure(opened, Path(scratch), large):
                print(f"| {len(large.images)} {title} | {row} |")


if __name__ == "__main__":
    main()
