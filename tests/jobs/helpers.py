"""Images and small runs for the tests of the batch job."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from click.testing import Result
from PIL import Image

from jobs.formats import Record, decode_lines

Boxcar = Callable[..., Result]


def encoded(seed: int, width: int = 48, height: int = 40, format: str = "PNG") -> bytes:
    """An image of noise around a colour, both by seed."""
    random = np.random.default_rng(seed)
    pixels = np.clip(random.integers(0, 200, 3) + random.integers(0, 56, (height, width, 3)), 0, 255)
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, format)
    return buffer.getvalue()


def write_photos(folder: Path, count: int) -> Path:
    """`count` different images, some of them in a subfolder, below `folder`."""
    for index in range(count):
        path = folder / ("" if index % 3 else "sub") / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(index, 40 + index % 7, 36 + index % 5))
    return folder


def records_of(output: Path) -> list[Record]:
    """Every record of a run in a folder, in order."""
    parts = sorted((output / "boxes").glob("*.jsonl"))
    return [record for part in parts for record in decode_lines(Record, part.read_bytes())]


def part_bytes(output: Path) -> dict[str, bytes]:
    """The parts of a run in a folder."""
    return {path.name: path.read_bytes() for path in sorted((output / "boxes").glob("*.jsonl"))}
