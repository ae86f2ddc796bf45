"""Seconds of a training epoch on this processor: ways to use its cores, alone and beside a busy program.

    python -m benchmarks.training
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python -m benchmarks.training --precision bf16 --precision fp32

The settings are those of params.yaml, on scenes that it draws itself; `--images` and `--image-size` make it shorter.
Each way trains in a process of its own, in turns, and the median of its epochs after the first one counts. The busy
program is an endless loop on one core. The second command imitates a processor with AVX2 only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import click

from detector.common.cores import cores
from detector.common.threads import SPINS
from detector.data.settings import FetchSettings
from detector.model.device import choose_device
from detector.model.precision import resolve_precision
from detector.params import Params, load_params
from detector.stages import fetch, propose, train
from detector.stages.layout import PARAMS


@dataclass(frozen=True)
class Way:
    """One way to use the cores. environment: what OpenMP reads when a process starts."""

    title: str
    environment: dict[str, str]
    processes: int = 1


def ways(count: int) -> list[Way]:
    """Return the ways that are compared on `count` cores; `detector train` takes the third one."""
    threads = {"OMP_NUM_THREADS": str(count)}
    return [
        Way(f"{count} threads, libgomp's defaults", threads),
        Way(f"{count} threads that sleep at once", threads | {"GOMP_SPINCOUNT": "0"}),
        Way(f"**{count} threads that sleep soon**", threads | {"GOMP_SPINCOUNT": SPINS}),
        Way(f"{count} processes of one thread, torchrun", {"OMP_NUM_THREADS": "1"}, count),
    ]


def settings(images: int, image_size: int, epochs: int) -> Params:
    """Return the project's settings with `images` training scenes of one size."""
    params = load_params(PARAMS)
    counts = {"train": images, "val": 1, "test": 1}
    scenes = {"sources": [{"format": "generated", "splits": counts}]}
    return params.model_copy(
        update={
            "fetch": FetchSettings.model_validate(scenes),
            "model": params.model.model_copy(update={"image_size": image_size}),
            "train": params.train.model_copy(update={"epochs": epochs, "image_sizes": (image_size,), "device": "cpu"}),
        }
    )


@contextlib.contextmanager
def busy_neighbour(wanted: bool) -> Iterator[None]:
    """Run a program that computes without end until the block ends, if one is wanted."""
    if not wanted:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def epoch_seconds(way: Way, folder: Path, precision: str, arguments: list[str]) -> list[float]:
    """Train in a new process, and return the seconds of each epoch after the first."""
    program = ["-m", "benchmarks.training", "--train-in", str(folder), "--precision", precision]
    if way.processes > 1:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={way.processes}"]
        program = [*torchrun, *program, "--processes", str(way.processes)]
    for name in ("train", "log", "state"):  # the processes of one training share these folders
        shutil.rmtree(folder / name, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, *program, *arguments],
        env=os.environ | way.environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [float(line.rsplit(" ", 2)[1]) for line in done.stdout.splitlines() if line.startswith("epoch ")][1:]


@click.command()
@click.option("--images", default=96, show_default=True, type=click.IntRange(min=1), help="Training images.")
@click.option("--image-size", default=256, show_default=True, type=click.IntRange(min=32), help="Longer side, pixels.")
@click.option("--epochs", default=4, show_default=True, type=click.IntRange(min=2), help="Per way; the first is free.")
@click.option("--precision", "precisions", multiple=True, type=click.Choice(["auto", "bf16", "fp32"]), default=["auto"])
@click.option("--way", "chosen", multiple=True, type=click.IntRange(1, 4), help="Only this row of the table.")
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(min=1), help="Turns of each way.")
@click.option("--train-in", type=click.Path(path_type=Path), hidden=True, help="Train once in this folder.")
@click.option("--processes", default=1, type=int, hidden=True, help="That share a batch under torchrun.")
def main(
    images: int,
    image_size: int,
    epochs: int,
    precisions: tuple[str, ...],
    chosen: tuple[int, ...],
    rounds: int,
    train_in: Path | None,
    processes: int,
) -> None:
    """Print a table of seconds an epoch."""
    params = settings(images, image_size, epochs)
    if train_in is not None:
        changes = {"precision": precisions[0], "batch_size": max(1, params.train.batch_size // processes)}
        own = params.train.model_copy(update=changes)
        data, boxes, out = train_in / "data", train_in / "boxes", train_in / "train"
        train.run(params.model, own, data, boxes, out, train_in / "log", train_in / "state")
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder, count = Path(scratch), cores()
        rows = [way for number, way in enumerate(ways(count), start=1) if number in chosen or not chosen]
        fetch.fetch(params.fetch, params.fetch.seed, folder / "data")
        recall = folder / "recall.json"
        propose.run(params.propose, params.model.name, folder / "data", folder / "boxes", recall, count)
        arguments = ["--images", str(images), "--image-size", str(image_size), "--epochs", str(epochs)]
        print(f"{images} images of {image_size} pixels, {count} cores; seconds an epoch, medians")
        print("| way | precision | alone | beside a busy program | ratio |\n| --- | --- | --- | --- | --- |")
        for precision in cast("tuple[Literal['auto', 'bf16', 'fp32'], ...]", precisions):
            seconds: dict[tuple[str, bool], list[float]] = {}
            for _ in range(rounds):
                for busy in (False, True):
                    for way in rows:
                        with busy_neighbour(busy):
                            found = epoch_seconds(way, folder, precision, arguments)
                        seconds.setdefault((way.title, busy), []).extend(found)
            resolved = resolve_precision(precision, choose_device("cpu"))
            for way in rows:
                alone, beside = (statistics.median(seconds[way.title, busy]) for busy in (False, True))
                print(f"| {way.title} | {resolved} | {alone:.2f} | {beside:.2f} | {beside / alone:.2f} |", flush=True)


if __name__ == "__main__":
    main()
