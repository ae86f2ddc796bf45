"""The shipped detector on real photographs: those that two packages carry, or any folder of yours.

`python -m demo.photographs [FOLDER]` is this part of `make demo` alone, which needs no training.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detector.common.drawing import draw_detections
from detector.common.files import lies_in
from detector.runtime.artifact import load_artifact
from detector.runtime.geometry.boxes import xywh_to_xyxy
from detector.runtime.images import decode_image
from detector.runtime.shipped import SHIPPED
from jobs.plan import IMAGE_EXTENSIONS

# A run takes a folder, and the packages' folders hold other files too. So there is a folder of links to photographs.
HERE = Path("build/demo-photographs")
SCENES = Path("build/demo")  # the results of the demo's first half
LINKS, RUN, SHEET = HERE / "photographs", HERE / "run", HERE / "boxes.png"
# The photographs show everyday things. The cup of coffee is not one of the 20 classes.
PACKAGED = {
    "skimage": ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "motorcycle_left.png"),
    "matplotlib": ("grace_hopper.jpg",),
}
_FOLDERS = {"skimage": "data", "matplotlib": "mpl-data/sample_data"}
# The table and the sheet show the first photographs only; the manifest has all.
_LINES, _SHOWN, _COLUMNS, _CELL = 20, 9, 3, (520, 420)
# The exit code of a run that is published as rejected: it has its records all the same.
_REJECTED = 3


class NoPhotographs(Exception):
    """There is nothing to run on; the message says what to do."""


def choose(named: str | None) -> Path:
    """Return the folder to run on: the named one, else a new folder of links to the packages' photographs.

    Raises NoPhotographs.
    """
    if named is None:
        return _packaged()
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise NoPhotographs(f"PHOTOS={named}: there is no such folder")
    for results in (HERE, SCENES):
        if lies_in(results, folder) or lies_in(folder, results):
            raise NoPhotographs(
                f"PHOTOS={named}: holds {results}, or lies in it, where the results go; name another folder"
            )
    if not any(path.suffix.lower().removeprefix(".") in IMAGE_EXTENSIONS for path in folder.rglob("*")):
        raise NoPhotographs(f"PHOTOS={named}: no images in it ({', '.join(IMAGE_EXTENSIONS)})")
    return folder


def _packaged() -> Path:
    shutil.rmtree(LINKS, ignore_errors=True)
    LINKS.mkdir(parents=True)
    for package, names in PACKAGED.items():
        spec = find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            for name in names:
                if (path := Path(root) / _FOLDERS[package] / name).is_file():
                    (LINKS / name).symlink_to(path)
    if not any(LINKS.iterdir()):
        raise NoPhotographs("no photographs at hand: install the extra `dev`, or name a folder with PHOTOS=")
    return LINKS


def run(folder: Path) -> int:
    """Run `boxcar run` over the folder, print the table and draw the sheet; returns the command's exit code."""
    shutil.rmtree(RUN, ignore_errors=True)
    done = subprocess.run(["boxcar", "run", str(folder), str(RUN)])
    if done.returncode in (0, _REJECTED):
        records = read_records(RUN)
        print()
        print(table(records))
        draw(records).save(SHEET)
        print(f"\n{'photographs with boxes':<40}{SHEET}")
    return done.returncode


def read_records(run: Path) -> list[dict[str, Any]]:
    """Return all records of a run, in order."""
    parts = sorted((run / "boxes").glob("*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_text("utf-8").splitlines()]


def table(records: Sequence[dict[str, Any]]) -> str:
    """Return a line for each photograph: its name, and its labels with their scores, best first."""
    shown = records[:_LINES]
    names = [Path(record["image"]).name for record in shown]
    width = max(map(len, names), default=0) + 3
    lines = [f"{name:<{width}}{_found(record)}" for name, record in zip(names, shown, strict=True)]
    if len(records) > len(shown):
        lines.append(f"... and {len(records) - len(shown):,} more")
    return "\n".join(lines)


def _found(record: dict[str, Any]) -> str:
    if record["status"] != "ok":
        return f"({record['status']})"
    boxes = sorted(record["boxes"], key=lambda box: -box["score"])
    return ", ".join(f"{box['label']} {box['score']:.2f}" for box in boxes) or "none of its classes"


def draw(records: Sequence[dict[str, Any]]) -> Image.Image:
    """Draw the first photographs that could be read, with their boxes, side by side."""
    shown = [record for record in records if record["status"] == "ok"][:_SHOWN]
    classes = load_artifact(SHIPPED).classes
    columns = min(_COLUMNS, max(1, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    sheet = Image.new("RGB", (columns * _CELL[0], rows * _CELL[1]), "white")
    for index, record in enumerate(shown):
        cell = _drawn(record, classes)
        row, column = divmod(index, columns)
        x, y = ((outer - inner) // 2 for outer, inner in zip(_CELL, cell.size, strict=True))
        sheet.paste(cell, (column * _CELL[0] + x, row * _CELL[1] + y))
    return sheet


def _drawn(record: dict[str, Any], classes: Sequence[str]) -> Image.Image:
    """Draw one photograph as large as a cell allows. It is scaled first, so that all boxes have lines of one width."""
    pixels = decode_image(Path(record["image"]).read_bytes())
    image = Image.fromarray(pixels)
    image.thumbnail((_CELL[0] - 10, _CELL[1] - 10))
    boxes = record["boxes"]
    corners = np.array([[box["x"], box["y"], box["width"], box["height"]] for box in boxes], np.float32).reshape(-1, 4)
    return draw_detections(
        np.asarray(image),
        xywh_to_xyxy(corners) * np.float32(image.width / pixels.shape[1]),
        np.array([classes.index(box["label"]) for box in boxes], np.int64),
        np.array([box["score"] for box in boxes]),
        classes,
    )


def main() -> None:
    """Run this part of the demo alone."""
    try:
        folder = choose(sys.argv[1] if len(sys.argv) > 1 else None)
    except NoPhotographs as error:
        sys.exit(f"error: {error}")
    sys.exit(run(folder))


if __name__ == "__main__":
    main()
