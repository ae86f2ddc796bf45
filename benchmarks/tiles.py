"""Measure what tiles gain and cost, beside SAHI if it is installed.

    python -m benchmarks.tiles detector/artifacts/voc20 --tile 384

The photographs of a split that stage `fetch` made are laid out 4 x 4 at their own size. The same session looks at each
mosaic without tiles, with them, and through SAHI with slices of the same size and overlap (pip install sahi
opencv-python-headless). Each way decodes the JPEG itself. A time is that of one thread's CPU; the ways take turns.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np

from benchmarks.models import Measured, open_artifact, processor
from benchmarks.mosaics import write_mosaics
from detector.common.progress import progress
from detector.data.annotations import CocoDataset, load_coco
from detector.evaluation.average_precision import VocResult, evaluate_voc
from detector.evaluation.detections import DetectionSet
from detector.runtime.artifact import load_artifact
from detector.runtime.detector import Image, read_for
from detector.runtime.geometry.boxes import area, iou
from detector.runtime.images import decode_image
from detector.runtime.postprocess import Detections
from detector.runtime.tiles import TiledDetector
from detector.runtime.tiling import DEFAULT_OVERLAP, Tiling
from detector.stages import layout

IOU = 0.5
_CELL = (400, 400)
# COCO's border between medium and large objects.
_LARGE = 96.0**2
SIZES = {"below 96 x 96": (0.0, _LARGE), "larger": (_LARGE, np.inf), "all": (0.0, np.inf)}

Look = Callable[[bytes], Detections]


def of_size(truth: CocoDataset, found: DetectionSet, low: float, high: float) -> VocResult:
    """Return the AP of objects with areas from `low` to below `high`, in square pixels.

    As in COCO's evaluation, other objects are ignored, and so are detections of other sizes, unless they are right.
    """
    images, wanted = [], {}
    for image in truth.images:
        own = found[image.id]
        counts = (area(image.boxes) >= low) & (area(image.boxes) < high)  # (G,)
        right = (iou(own.boxes, image.boxes) >= IOU) & (own.labels[:, None] == image.labels) & counts  # (K, G)
        kept = ((area(own.boxes) >= low) & (area(own.boxes) < high)) | right.any(axis=1)
        images.append(dataclasses.replace(image, ignore=image.ignore | ~counts))
        wanted[image.id] = Detections(own.boxes[kept], own.scores[kept], own.labels[kept])
    return evaluate_voc(CocoDataset(truth.classes, tuple(images)), wanted, (IOU,))


def ways(opened: Measured, folder: Path, tiling: Tiling) -> dict[str, Look]:
    """Return the ways to look at a mosaic, by their names."""
    artifact, inner, least = load_artifact(folder), opened.detector, opened.least_score
    limits = {"most_overlap": artifact.most_overlap, "max_detections": artifact.max_detections}
    tiled = TiledDetector(inner, tiling, **limits)  # type: ignore[arg-type]
    found: dict[str, Look] = {
        "no tiles": lambda data: inner.detect([read_for(inner, data)], min_score=least).detections[0],
        "tiles": lambda data: tiled.detect([Image.whole(decode_image(data))], min_score=least).detections[0],
    }
    if find_spec("sahi") is None:
        print("SAHI is not installed: pip install sahi opencv-python-headless\n")
        return found
    from benchmarks.sahi_peer import Sahi

    for name, merge in (("SAHI", None), ("SAHI, GREEDYNMM", "GREEDYNMM")):
        peer = Sahi(inner, tiling.side, tiling.overlap, least, merge)
        found[name] = lambda data, peer=peer: peer.detect(decode_image(data))  # type: ignore[misc]
    return found


_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("artifact", type=_FOLDER)
@click.option("--tile", type=int, required=True, help="Side of a tile in pixels.")
@click.option("--overlap", default=DEFAULT_OVERLAP, show_default=True)
@click.option("--dataset", type=_FOLDER, default=layout.DATASET, show_default=True)
@click.option("--split", default="test", show_default=True)
def main(artifact: Path, tile: int, overlap: float, dataset: Path, split: str) -> None:
    """Compare ways to find small objects in large images."""
    truth = load_coco(dataset / f"{split}.json")
    opened = open_artifact(artifact, False, truth)
    looks = ways(opened, artifact, Tiling(tile, overlap))
    found: dict[str, dict[int, Detections]] = {name: {} for name in looks}
    seconds = dict.fromkeys(looks, 0.0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        large = write_mosaics(truth, dataset / "images", folder, grid=4, cell=_CELL, title="draw")
        for info in progress(large.images, len(large.images), "measure"):
            data = (folder / info.file_name).read_bytes()
            for name, look in looks.items():
                start = time.thread_time()
                own = look(data)
                seconds[name] += time.thread_time() - start
                found[name][info.id] = Detections(own.boxes, own.scores, opened.labels[own.labels])
    count = len(large.images)
    print(f"{count} mosaics of {split}, {opened.name}, tiles of {tile}, overlap {overlap}; {processor()}, one thread\n")
    print("| way |", " | ".join(f"AP@{IOU} {name}, all-point (11-point)" for name in SIZES), "| images/s |")
    print("| --- |", "---: | " * (len(SIZES) + 1))
    for name, boxes in found.items():
        results = [of_size(large, boxes, *size) for size in SIZES.values()]
        aps = " | ".join(f"{result.map_all_point(IOU):.3f} ({result.map_11point(IOU):.3f})" for result in results)
        print(f"| {name} | {aps} | {count / seconds[name]:.2f} |")


if __name__ == "__main__":
    main()
