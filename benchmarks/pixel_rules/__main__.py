"""Measure how often the drift rules see planted faults of pixels, and how often they warn of clean runs.

    python -m benchmarks.pixel_rules FOLDER --others FOLDER --pools pools

The first FOLDER has photographs of the kind that the shipped artifact was tested on, the other one another collection.
"""

from __future__ import annotations

import io
import time
from collections import Counter
from pathlib import Path

import click
from PIL import Image

from benchmarks.photographs import find_photographs
from benchmarks.pixel_rules.pool import load_pools, make_pools
from benchmarks.pixel_rules.runs import Case, measure
from detector.runtime.artifact import load_artifact
from detector.runtime.detector import open_detector
from detector.runtime.image_quality import image_quality
from detector.runtime.images import decode
from detector.runtime.shipped import SHIPPED

# The longer side of the photographs whose quality is timed, and the most of them.
TIMED_SIDE, TIMED = 500, 100


@click.command()
@click.argument("photos", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--others", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--pools", type=click.Path(path_type=Path), required=True, help="Folder for the records.")
@click.option("--model", type=click.Path(exists=True, path_type=Path), default=SHIPPED, help="The artifact.")
@click.option("--clean", type=int, default=2000, show_default=True, help="Photographs as they are.")
@click.option("--faulty", type=int, default=600, show_default=True, help="Photographs with each fault.")
@click.option("--runs", type=int, default=200, show_default=True, help="Seeded runs with each fault.")
@click.option("--clean-runs", type=int, default=1000, show_default=True, help="Seeded runs without a fault.")
@click.option("--images", type=int, default=2000, show_default=True, help="Images of a run, in ten prefixes.")
def main(
    photos: Path,
    others: Path,
    pools: Path,
    model: Path,
    clean: int,
    faulty: int,
    runs: int,
    clean_runs: int,
    images: int,
) -> None:
    """Make the records, draw the runs and print Markdown tables."""
    ours = find_photographs(photos)
    make_pools(open_detector(model), ours, find_photographs(others), clean, faulty, pools)
    artifact, records = load_artifact(model), load_pools(pools)
    print("| runs | reference | with an alarm | rules that warned, and in how many runs |")
    print("| --- | --- | ---: | --- |")
    warned: dict[Case, list[set[str]]] = {}
    for case, rules in measure(records, artifact, runs, clean_runs, images):
        warned.setdefault(case, []).append(rules)
    for (fault, since), cases in warned.items():
        counts = Counter(rule for rules in cases for rule in rules)
        named = ", ".join(f"`{rule}` {count}" for rule, count in counts.most_common()) or "none"
        share = sum(map(bool, cases)) / len(cases)
        print(f"| {len(cases)} x {fault} | {'the run before' if since else 'test images'} | {share:.1%} | {named} |")
    print(f"\n{_timed(ours[:TIMED])}")


def _timed(paths: list[Path]) -> str:
    """The CPU time for the quality of a photograph, and for decoding it: the least of five rounds."""
    encoded = []
    for path in paths:
        image = Image.open(path).convert("RGB")
        factor = TIMED_SIDE / max(image.size)
        file = io.BytesIO()
        image.resize((round(image.width * factor), round(image.height * factor))).save(file, "JPEG", quality=90)
        encoded.append(file.getvalue())
    rounds = []
    for _ in range(5):
        start = time.process_time()
        decoded = [decode(data, None) for data in encoded]
        between = time.process_time()
        for one in decoded:
            image_quality(one)
        rounds.append((time.process_time() - between, between - start))
    quality, decoding = (1000 * min(times) / len(encoded) for times in zip(*rounds, strict=True))
    return f"CPU time at {TIMED_SIDE} px: {quality:.2f} ms for the quality of an image, {decoding:.2f} ms to decode it."


if __name__ == "__main__":
    main()
