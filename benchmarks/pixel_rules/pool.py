"""Makes the records from which runs are drawn: of photographs as they are, and with each planted fault."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.pixel_rules.faults import CLEAN, FAULTS, REPLACED, STUCK, Fault
from detector.common.progress import progress
from detector.runtime.detector import Detector
from detector.runtime.image_quality import read_and_measure
from detector.runtime.images import decode_image, frame_size
from detector.runtime.reading import Reading
from jobs.formats import QualityRecord, Record, decode_lines, encode_lines
from jobs.image import boxes_of

# Frames of one image for the camera that hangs.
FRAMES = 5

Pools = dict[str, list[Record]]


def make_pools(
    detector: Detector, photos: Sequence[Path], others: Sequence[Path], clean: int, faulty: int, out: Path
) -> None:
    """Write the records of each pool to a file in `out`; pools that are there stay.

    photos: of the kind that the artifact was tested on; others: another collection; clean, faulty: number of
    photographs as they are, and with each fault. A record of a fault keeps the boxes of the photograph as it is: so
    the detector runs once for each photograph, and no rule over boxes helps to see the fault.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not _file(out, CLEAN).exists():
        drawn = random.Random(0).sample(list(photos), min(clean, len(photos)))
        _write(_file(out, CLEAN), (_detected(detector, path) for path in drawn), len(drawn), CLEAN)
    if not _file(out, REPLACED).exists():
        drawn = random.Random(1).sample(list(others), min(faulty, len(others)))
        _write(_file(out, REPLACED), (_detected(detector, path) for path in drawn), len(drawn), REPLACED)
    paths = {path.name: path for path in photos}
    whole = decode_lines(Record, _file(out, CLEAN).read_bytes())
    for name, fault in FAULTS.items():
        if not _file(out, name).exists():
            frames = FRAMES if name == STUCK else 1
            used = whole[: faulty // frames]
            _write(_file(out, name), _faulty(used, paths, fault, frames), len(used) * frames, name)


def load_pools(folder: Path) -> Pools:
    """Return the records of each pool by its name."""
    return {name: decode_lines(Record, _file(folder, name).read_bytes()) for name in (CLEAN, *FAULTS, REPLACED)}


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name.replace(' ', '-')}.jsonl"


def _write(file: Path, records: Iterable[Record], count: int, title: str) -> None:
    file.write_bytes(encode_lines(list(progress(records, count, title))))


def _detected(detector: Detector, path: Path) -> Record:
    data = path.read_bytes()
    read = read_and_measure(data, detector.reading(*frame_size(data)))
    (found,) = detector.detect([read]).detections
    return Record(
        run="0" * 8, image=f"/{path.name}", etag=None, version_id=None, bytes=len(data), width=read.width,
        height=read.height, status="ok", error=None, boxes=boxes_of(found, detector.classes),
        image_quality=QualityRecord(**vars(read.quality)),
    )  # fmt: skip


def _faulty(records: Sequence[Record], paths: Mapping[str, Path], fault: Fault, frames: int) -> Iterator[Record]:
    noise = np.random.default_rng(0)
    for record in records:
        pixels = decode_image(paths[record.image.removeprefix("/")].read_bytes())
        for frame in range(frames):
            made = io.BytesIO()
            Image.fromarray(fault(pixels, noise)).save(made, "JPEG", quality=90)
            read = read_and_measure(made.getvalue(), Reading(1, 1, None))
            changes = {"image": f"{record.image}#{frame}", "width": read.width, "height": read.height}
            changes["image_quality"] = QualityRecord(**vars(read.quality))
            yield record.model_copy(update=changes)
