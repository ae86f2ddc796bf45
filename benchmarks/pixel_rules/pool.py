"""Makes the records from which runs are drawn: of photographs as they are, and with each planted fault."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.pixel_rules.faults import CLEAN, FAULTS, REPLACED, Fault
from detector.common.progress import progress
from detector.runtime.detector import Detector, measure_for
from detector.runtime.images import decode_image
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
    photographs as they are, and with each fault.
    """
    out.mkdir(parents=True, exist_ok=True)
    drawn = random.Random(0).sample(list(photos), min(clean, len(photos)))
    wanted: dict[str, tuple[Sequence[Path], Fault | None, int]] = {CLEAN: (drawn, None, 1)}
    for name, fault in FAULTS.items():
        frames = FRAMES if name == "stuck camera" else 1
        wanted[name] = (drawn[: faulty // frames], fault, frames)
    wanted[REPLACED] = (random.Random(1).sample(list(others), min(faulty, len(others))), None, 1)
    for name, (paths, fault, frames) in wanted.items():
        file = out / f"{name.replace(' ', '-')}.jsonl"
        if not file.exists():
            records = list(progress(_records(detector, paths, fault, frames), len(paths) * frames, name))
            file.write_bytes(encode_lines(records))


def load_pools(folder: Path) -> Pools:
    """Return the records of each pool by its name."""
    names = (CLEAN, *FAULTS, REPLACED)
    return {name: decode_lines(Record, (folder / f"{name.replace(' ', '-')}.jsonl").read_bytes()) for name in names}


def _records(detector: Detector, paths: Sequence[Path], fault: Fault | None, frames: int) -> Iterator[Record]:
    noise = np.random.default_rng(0)
    for path in paths:
        data = path.read_bytes()
        for frame in range(frames):
            made = data if fault is None else _encoded(fault(decode_image(data), noise))
            yield _record(detector, f"/{path.name}#{frame}", made)


def _encoded(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def _record(detector: Detector, name: str, data: bytes) -> Record:
    read = measure_for(detector, data)
    (found,) = detector.detect([read]).detections
    return Record(
        run="0" * 8, image=name, etag=None, version_id=None, bytes=len(data), width=read.width, height=read.height,
        status="ok", error=None, boxes=boxes_of(found, detector.classes),
        image_quality=QualityRecord(**vars(read.quality)),
    )  # fmt: skip
