"""A detector on a device: decoding alone, the network alone in batches, the job, and whether a processor agrees.

    python -m benchmarks.device detector/artifacts/voc20 --photos FOLDER

Each row is printed when it is measured. The photographs lie in a folder and are repeated where there are too few. The
network alone takes photographs of one input size, in batches of 1 to 64. The job is `boxcar work`, from start to exit,
without `finish`. `benchmarks/gpu.sh` runs this and a training on a machine with a GPU.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import click
import numpy as np

from benchmarks.batch.__main__ import fill
from benchmarks.models import processor
from benchmarks.photographs import find_photographs
from detector.common.cores import cores
from detector.common.errors import ImageError
from detector.runtime.detector import Detector, Image, open_detector
from detector.runtime.devices import DEVICES
from detector.runtime.images import MAX_PIXELS
from detector.runtime.postprocess import Detections
from jobs.budget import Budget
from jobs.decoding.decoders import Decoders

BATCHES = (1, 2, 4, 8, 16, 32, 64)
_LEAST_SCORE = 0.05
# The tolerance between processors that docs/batch.md states: pixels and score.
_PIXELS, _SCORE = 0.5, 1e-3


def read_all(files: list[Path], detector: Detector) -> tuple[list[Image], float]:
    """Return the images as the job reads them, and the images a second with a thread for each core."""
    decoders = Decoders(Budget(MAX_PIXELS), cores())

    def read(path: Path) -> Image | None:
        try:
            with decoders.read(path.name, path.read_bytes(), detector.reading) as (image, _):
                return image
        except ImageError:
            return None

    try:
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(read, files[: cores()]))  # children start with their first image
            start = time.perf_counter()
            images = [image for image in pool.map(read, files) if image is not None]
            return images, len(files) / (time.perf_counter() - start)
    finally:
        decoders.close()


def alike(images: list[Image]) -> list[Image]:
    """Return the images of the most frequent size, as the detector reads them."""
    groups: dict[tuple[int, ...], list[Image]] = defaultdict(list)
    for image in images:
        groups[image.pixels.shape].append(image)
    return max(groups.values(), key=len)


def network_rate(detector: Detector, images: list[Image], seconds: float) -> float:
    """Return the images a second of the graph alone, in batches of `detector.batch`, after a first call."""
    given = cycle(images)
    detector.detect(list(islice(given, detector.batch)))
    count, spent, end = 0, 0.0, time.perf_counter() + seconds
    while count == 0 or time.perf_counter() < end:
        spent += detector.detect(list(islice(given, detector.batch))).seconds["network"]
        count += detector.batch
    return count / spent


def job_rate(artifact: Path, photos: Path, count: int, device: str) -> float:
    """Return the images a second of `boxcar work` as a process of its own."""
    with tempfile.TemporaryDirectory(prefix="boxcar-") as scratch:
        fill(Path(scratch, "buckets"), photos, count)
        source, output = Path(scratch, "buckets/photos/all"), Path(scratch, "run")
        boxcar = [sys.executable, "-m", "jobs"]
        subprocess.run(
            [*boxcar, "plan", str(source), str(output), "--model", str(artifact)], check=True, stdout=subprocess.DEVNULL
        )
        start = time.perf_counter()
        subprocess.run(
            [*boxcar, "work", str(output), "--device", device],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return count / (time.perf_counter() - start)


def agreement(one: Detections, other: Detections) -> bool:
    """Return whether two devices find the same within the tolerance: each box above the least score has its partner."""
    for own, theirs in ((one, other), (other, one)):
        for box, score, label in zip(own.boxes, own.scores, own.labels, strict=True):
            if score < _LEAST_SCORE + _SCORE:
                continue
            near = (np.abs(theirs.boxes - box).max(axis=1, initial=0) <= _PIXELS) & (theirs.labels == label)
            if not (np.abs(theirs.scores[near] - score) <= _SCORE).any():
                return False
    return True


def rows(
    artifact: Path, photos: Path, count: int, device: str, seconds: float, batches: tuple[int, ...]
) -> Iterator[tuple[str, str]]:
    """Measure one artifact; gives the name and the value of each row."""
    files = find_photographs(photos)
    detector = open_detector(artifact, device)
    found = detector.device.kind
    if device != "auto" and found != device:
        raise click.ClickException(f"the graph runs on {found}, not on {device}")
    yield "device", found
    images, decoding = read_all(list(islice(cycle(files), count)), detector)
    yield f"decoding alone, {cores()} cores", f"{decoding:.0f} images/s"
    rates = {}
    for batch in batches:
        own = open_detector(artifact, device, threads=cores(), batch=batch)
        if own.batch != batch:
            break
        rates[batch] = network_rate(own, alike(images), seconds)
        yield f"network alone, {batch} images a call", f"{rates[batch]:.0f} images/s"
    least = min(decoding, max(rates.values(), default=decoding))
    job = job_rate(artifact, photos, count, device)
    yield "boxcar work", f"{job:.0f} images/s, {job / least:.2f} of the smaller of the two"
    some = images[:200]
    expected = open_detector(artifact, "cpu").detect(some, min_score=_LEAST_SCORE).detections
    same = sum(map(agreement, detector.detect(some, min_score=_LEAST_SCORE).detections, expected))
    yield "images with the detections of a processor, within the tolerance", f"{same} of {len(some)}"


_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("artifacts", type=_FOLDER, nargs=-1, required=True)
@click.option("--photos", type=_FOLDER, required=True, help="Folder of photographs.")
@click.option("--images", type=click.IntRange(min=1), default=2000, show_default=True)
@click.option("--seconds", type=float, default=4.0, show_default=True, help="Of each batch size.")
@click.option("--batch", "batches", type=click.IntRange(min=1), multiple=True, default=BATCHES, show_default=True)
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
def main(
    artifacts: tuple[Path, ...], photos: Path, images: int, seconds: float, batches: tuple[int, ...], device: str
) -> None:
    """Print a table for each artifact."""
    print(f"{processor()}, {cores()} cores, {images} images")
    for artifact in artifacts:
        print(f"\n| {artifact.name} | |\n| --- | --- |", flush=True)
        for name, value in rows(artifact, photos, images, device, seconds, batches):
            print(f"| {name} | {value} |", flush=True)


if __name__ == "__main__":
    main()
