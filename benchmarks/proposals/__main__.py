"""Compare Selective Search of this project with OpenCV's and dlib's: times, and quality over the number of boxes.

    python -m benchmarks.proposals --limit 100
    python -m benchmarks.proposals --annotations instances_val2017.json --images val2017

Needs `pip install opencv-contrib-python-headless dlib-bin`, or --tools without them. OpenCV's quality mode takes
seconds an image. The tools take turns on each image, in one thread. A time runs from the array that the tool takes to
the boxes that it gives; reordering channels before and converting boxes afterwards are not counted.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from benchmarks.proposals.measure import Row, evenly_spread, interleave, quality, relative_speed, table
from benchmarks.proposals.tools import REFERENCES, TOOLS, Pixels
from detector.common.errors import DetectorError
from detector.common.progress import progress
from detector.data.annotations import CocoDataset, load_coco
from detector.runtime.images import decode_image
from detector.stages import layout
from detector.stages.metrics_file import write_json

# The implementation that most people meet first; speeds are relative to it.
BASELINE = "opencv-fast"


def decoded(truth: CocoDataset, folder: Path) -> Iterator[tuple[int, Pixels]]:
    """Yield the id and the uint8 RGB (H, W, 3) of every image.

    Raises ClickException for an image that does not agree with its annotations.
    """
    for image in progress(truth.images, len(truth.images), "proposals"):
        path = folder / image.file_name
        try:
            pixels = decode_image(path.read_bytes())
        except (OSError, DetectorError) as error:
            raise click.ClickException(f"{path}: {error}") from error
        if pixels.shape[:2] != (image.height, image.width):
            found = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise click.ClickException(f"{path} has {found} pixels, its annotations say {image.width}x{image.height}")
        yield image.id, pixels


def compare(truth: CocoDataset, folder: Path, names: list[str]) -> dict[str, Row]:
    """Return a row for each name of TOOLS and REFERENCES, in their order.

    All tools' boxes are held in memory, which takes about half a megabyte for each image.
    """
    tools = {name: TOOLS[name]() for name in names if name in TOOLS}
    runs = interleave(tools, decoded(truth, folder)) if tools else {}
    rows: dict[str, Row] = {}
    for name in names:
        if name in tools:
            tool, run = tools[name], runs[name]
            speed = relative_speed(run, runs[BASELINE]) if BASELINE in runs else None
            counts = [len(boxes) for boxes in run.boxes.values()]
            rows[name] = Row(tool.title, counts, quality(truth, run.boxes), tool.version, run, speed)
        else:
            reference = REFERENCES[name]
            boxes = {image.id: reference.boxes(image.height, image.width, image.id) for image in truth.images}
            rows[name] = Row(reference.title, [len(found) for found in boxes.values()], quality(truth, boxes))
    return rows


def _names(_: click.Context, __: click.Parameter, value: str) -> list[str]:
    names = list(dict.fromkeys(value.split(",")))
    if unknown := [name for name in names if name not in TOOLS and name not in REFERENCES]:
        raise click.BadParameter(f"{', '.join(unknown)}: choose from {', '.join((*TOOLS, *REFERENCES))}")
    return names


def _document(truth: CocoDataset, source: Path, rows: dict[str, Row]) -> dict[str, Any]:
    """Return the content of `proposals.json`. Lists with a figure for each image are in the order of `images`."""
    return {
        "source": str(source),
        "machine": {"platform": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()},
        "images": [image.file_name for image in truth.images],
        "tools": {
            name: {
                "title": row.title,
                "version": row.version,
                "milliseconds": row.milliseconds,
                "times_as_fast": None if row.speed is None else vars(row.speed),
                "curve": vars(row.curve),
                "boxes": row.counts,
                "seconds": None if row.run is None else list(row.run.seconds.values()),
            }
            for name, row in rows.items()
        },
    }


@click.command()
@click.option("--annotations", type=click.Path(path_type=Path), help="A COCO file, in place of a fetched split.")
@click.option("--images", type=click.Path(path_type=Path), help="Its images; without it `images` beside the file.")
@click.option("--split", default="test", show_default=True, help="A split that stage `fetch` made.")
@click.option("--limit", type=click.IntRange(1), default=200, show_default=True, help="Images, spread over the file.")
@click.option("--tools", "names", default=",".join((*TOOLS, *REFERENCES)), show_default=True, callback=_names)
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks"), show_default=True)
def main(annotations: Path | None, images: Path | None, split: str, limit: int, names: list[str], out: Path) -> None:
    """Compare Selective Search with OpenCV's and dlib's, image by image.

    Sliding windows and random boxes show what boxes reach that do not depend on the image. Prints a table; all figures
    and a chart go to the folder --out.
    """
    source = annotations or layout.DATASET / f"{split}.json"
    try:
        dataset = load_coco(source)
    except DetectorError as error:
        raise click.ClickException(
            f"{error}; `dvc repro fetch` makes the splits, --annotations names a file"
        ) from error
    truth = CocoDataset(dataset.classes, evenly_spread(dataset.images, limit), dataset.category_ids)
    objects = sum(int((~(image.ignore | image.crowd)).sum()) for image in truth.images)
    if not objects:
        raise click.ClickException(f"{source}: nothing to find in these {len(truth.images)} images")
    rows = compare(truth, images or source.parent / "images", names)
    title = f"Proposals for {objects:,} objects in {len(truth.images):,} images"
    print(f"{title} of {source}: medians of the images, one thread")
    print("\n".join(table(list(rows.values()), "OpenCV fast")))
    write_json(out / "proposals.json", _document(truth, source, rows))
    from benchmarks.proposals.chart import draw  # takes a second to import

    draw(rows, title, out / "proposals.png")
    print(f"{out / 'proposals.png'}, {out / 'proposals.json'}")


if __name__ == "__main__":
    main()
