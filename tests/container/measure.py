"""Size and cold start of the job's image: `python -m tests.container.measure WORK`, as root.

A start is a container's whole life, runc's own included, with a read-only root. It is measured with the image's files
in memory, and after they were dropped from there, as on a machine that has just unpacked them.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image as Picture
from skimage import data

from tests.container.engine import Container, Engine, Image, missing

MEGABYTE = 1_000_000


def main() -> None:
    """Build, measure, print two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for images, which stay there")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if lacks := missing():
        parser.error(f"images cannot be built here: no {', no '.join(lacks)}")
    engine = Engine(arguments.work)
    job = engine.build("job")
    layers = engine.layers(job)
    print("\n| layer | MB | compressed |\n| --- | ---: | ---: |")
    for layer in layers:
        step = re.sub(r"^.*?/bin/sh -c (#\(nop\) )?|--mount=\S+\s+", "", layer.step)
        print(f"| {step[:60]} | {layer.unpacked / MEGABYTE:.0f} | {layer.packed / MEGABYTE:.0f} |")
    print(
        f"| all | {sum(x.unpacked for x in layers) / MEGABYTE:.0f} | {sum(x.packed for x in layers) / MEGABYTE:.0f} |"
    )

    print("\n| seconds, median | files in memory | files on disk |\n| --- | ---: | ---: |")
    with tempfile.TemporaryDirectory(dir=engine.work) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "tmp").mkdir()
        (folder / "tmp").chmod(0o1777)
        starts: dict[str, Callable[[], float]] = {
            "`boxcar --help`": lambda: _help(job),
            "first record written": lambda: _one_image(job, folder)[0],
            "one image published": lambda: _one_image(job, folder)[1],
        }
        for what, start in starts.items():
            warm, cold = [], []
            start()
            for _ in range(arguments.rounds):
                warm.append(start())
                _drop(job.root)
                cold.append(start())
            print(f"| {what} | {statistics.median(warm):.2f} | {statistics.median(cold):.2f} |")
    engine.close()


def _help(job: Image) -> float:
    begin = time.perf_counter()
    done = job.run("--help")
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - begin


def _one_image(job: Image, folder: Path) -> tuple[float, float]:
    """Seconds to the first record and to the end of `boxcar run` over one photograph."""
    place = Path(tempfile.mkdtemp(dir=folder))
    place.chmod(0o1777)
    (place / "photos").mkdir()
    cat: Any = data.cat
    Picture.fromarray(cat()).save(place / "photos" / "cat.jpg")
    begin = time.perf_counter()
    started = job.start(Container(("run", "photos", "boxes"), mounts={"/data": place, "/tmp": folder / "tmp"}))
    assert started.process.stderr is not None
    started.process.stderr.readline()  # of the part
    first = time.perf_counter() - begin
    done = started.finish()
    assert done.returncode == 0, done.stderr
    return first, time.perf_counter() - begin


def _drop(folder: Path) -> None:
    """Take the files below a folder out of the page cache."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


if __name__ == "__main__":
    main()
