"""Measure the batch job over photographs in a bucket of a local S3 server, on all cores.

The job takes turns with its own steps, each measured alone, and with the loop that a user would write first.

    python -m benchmarks.batch [--photos FOLDER] [--artifact FOLDER]
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import click

from benchmarks.photographs import find_photographs
from detector.common.cores import cores
from detector.runtime.shipped import SHIPPED
from detector.stages import layout
from tests.support.local_s3 import LocalS3, serve

BUCKET_IN, BUCKET_OUT = "photos", "boxes"
BOXCAR = (sys.executable, "-m", "jobs")


@dataclass(frozen=True)
class Run:
    """One batch job, planned beforehand."""

    seconds: float  # of `boxcar work`, from start to exit
    server_cpu: float  # seconds that the S3 server computed meanwhile, on the same cores
    cpu: float  # seconds of `boxcar work` itself
    finish: float  # seconds of `boxcar finish`


def fill(buckets: Path, photos: Path, count: int) -> None:
    """Copy `count` photographs into the bucket. If there are fewer, they are repeated under other names."""
    files = find_photographs(photos)
    (buckets / BUCKET_IN / "all").mkdir(parents=True)
    (buckets / BUCKET_OUT).mkdir()
    for index, path in enumerate(islice(cycle(files), count)):
        shutil.copyfile(path, buckets / BUCKET_IN / "all" / f"{index:06d}{path.suffix.lower()}")


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process up to now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_job(server: LocalS3, artifact: Path, name: str, options: list[str]) -> Run:
    """Plan a run, then measure `boxcar work` and `boxcar finish`."""
    output = f"s3://{BUCKET_OUT}/{name}/"
    environment = server.environment()
    plan = [*BOXCAR, "plan", f"s3://{BUCKET_IN}/all/", output, "--model", str(artifact)]
    subprocess.run(plan, env=environment, check=True, stdout=subprocess.DEVNULL)
    before, children, start = cpu_seconds(server.pid), os.times().children_user, time.perf_counter()
    system = os.times().children_system
    subprocess.run(
        [*BOXCAR, "work", output, *options],
        env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    seconds, after = time.perf_counter() - start, os.times()
    server_cpu = cpu_seconds(server.pid) - before
    start = time.perf_counter()
    subprocess.run([*BOXCAR, "finish", output], env=environment, check=True, stdout=subprocess.DEVNULL)
    cpu = after.children_user - children + after.children_system - system
    return Run(seconds, server_cpu, cpu, time.perf_counter() - start)


def ask(server: LocalS3, module: str, *arguments: str, **environment: str) -> dict[str, float]:
    """Run a module of this package and return the figures that it prints."""
    answer = subprocess.run(
        [sys.executable, "-m", f"benchmarks.batch.{module}", *arguments],
        env=server.environment() | environment, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return found


@click.command()
@click.option(
    "--artifact", type=click.Path(path_type=Path, exists=True), default=SHIPPED, help="[default: the shipped]"
)
@click.option("--photos", type=click.Path(path_type=Path), default=layout.DATASET / "images", show_default=True)
@click.option("--images", type=click.IntRange(min=1), default=2000, show_default=True)
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    help="Images for the steps and for the loop.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--price", type=float, default=0.08925, show_default=True, help="Dollars an hour of these cores.")
@click.argument("options", nargs=-1)
def main(
    artifact: Path, photos: Path, images: int, sample: int, rounds: int, price: float, options: tuple[str, ...]
) -> None:
    """Measure; OPTIONS go to `boxcar work`: -- --threads 2.

    The price is that of an AWS c7i.large (2 vCPUs, us-east-1, on demand; AWS's price list of 2025).
    """
    count = cores()
    steps: list[dict[str, float]] = []
    jobs: list[Run] = []
    loops: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        fill(Path(scratch) / "buckets", photos, images)
        with serve(Path(scratch) / "buckets", Path(scratch) / "s3.log") as server:
            place = (f"s3://{BUCKET_IN}/all", f"s3://{BUCKET_OUT}")
            for index in range(rounds):
                steps.append(
                    ask(server, "roofline", str(artifact), place[0], f"{place[1]}/roofline", str(sample),
                        OMP_NUM_THREADS="1")
                )  # fmt: skip
                jobs.append(run_job(server, artifact, f"run{index}", list(options)))
                loop = ask(server, "peer", place[0], f"{place[1]}/loop", str(sample))
                loops.append(loop["images"] / loop["seconds"])
                print(
                    f"round {index + 1}: {images / jobs[-1].seconds:.1f} images/s, loop {loops[-1]:.1f}",
                    file=sys.stderr,
                )

    medians = {name: statistics.median(step[name] for step in steps) for name in steps[0]}
    total = sum(medians.values())
    print(f"{images} photographs, {count} cores, {rounds} rounds in turns; medians\n")
    print("| step, alone in one thread | CPU ms an image |\n| --- | --- |")
    for name, milliseconds in medians.items():
        print(f"| {name} | {milliseconds:.2f} |")
    print(f"| sum | {total:.2f} |\n")
    roofs = [1000 * count / sum(step.values()) for step in steps]
    rates = [images / run.seconds for run in jobs]
    # The job cannot use the server's share of the cores.
    own = [images / (run.seconds - run.server_cpu / count) for run in jobs]
    shares = [rate / roof for rate, roof in zip(own, roofs, strict=True)]
    ratios = [rate / loop for rate, loop in zip(rates, loops, strict=True)]
    print("| | |\n| --- | --- |")
    for name, values, digits in (
        ("`boxcar work`, start to exit: images/s", rates, 1),
        ("the same, the S3 server's CPU time taken off", own, 1),
        (f"roofline: {count} cores / sum of the steps", roofs, 1),
        ("share of the roofline", shares, 3),
        ("CPU ms an image of the whole process", [1000 * run.cpu / images for run in jobs], 1),
        ("the first loop, torchvision: images/s", loops, 1),
        ("`boxcar work` over the first loop", ratios, 2),
        ("`boxcar finish`, s", [run.finish for run in jobs], 1),
        (f"dollars a million images at {price} $/h", [1e6 / rate / 3600 * price for rate in rates], 2),
    ):
        each = ", ".join(f"{value:.{digits}f}" for value in values)
        print(f"| {name} | **{statistics.median(values):.{digits}f}** ({each}) |")


if __name__ == "__main__":
    main()
