"""Seconds of a training epoch on this processor: processes against threads, alone and beside a busy program.

    python -m benchmarks.training
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python -m benchmarks.training --precision bf16 --precision fp32

The settings are those of params.yaml, on scenes that it draws itself; `--images` and `--image-size` make it shorter.
Each way trains in a process of its own, in turns, and the median of its epochs after the first one counts. The busy
program is an endless loop on one core. The second command imitates a processor with AVX2 only.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from detector.common.cores import cores
from detector.model.precision import resolve_precision
from detector.params import Params, load_params
from detector.stages import fetch, propose, train
from detector.stages.layout import PARAMS


@dataclass(frozen=True)
class Way:
    """One way to use the cores; environment: what OpenMP reads when the process starts."""

    title: str
    processes: int
    environment: dict[str, str]


def ways(count: int) -> list[Way]:
    """The ways that are compared on `count` cores; the last one is what `train.processes: auto` chooses."""
    threads = {"OMP_NUM_THREADS": str(count)}
    return [
        Way(f"1 process, {count} threads", 1, threads),
        Way(f"1 process, {count} threads that sleep while they wait", 1, threads | {"OMP_WAIT_POLICY": "passive"}),
        Way(f"{count} processes, 1 thread each", count, threads),
    ]


def settings(images: int, image_size: int, epochs: int) -> Params:
    """The project's settings for so many scenes of one size."""
    params = load_params(PARAMS)
    generated = params.fetch.generated.model_copy(update={"train": images, "val": 1, "test": 1})
    return params.model_copy(
        update={
            "fetch": params.fetch.model_copy(update={"source": "generated", "generated": generated}),
            "model": params.model.model_copy(update={"image_size": image_size}),
            "train": params.train.model_copy(update={"epochs": epochs, "image_sizes": (image_size,), "device": "cpu"}),
        }
    )


@contextlib.contextmanager
def busy_neighbour(wanted: bool) -> Iterator[None]:
    """A program that computes without end beside the block, if one is wanted."""
    if not wanted:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def epoch_seconds(way: Way, folder: Path, precision: str, arguments: list[str]) -> list[float]:
    """Train in a new process; the seconds of each epoch after the first."""
    command = [sys.executable, "-m", "benchmarks.training", "--train-in", str(folder), "--precision", precision]
    done = subprocess.run(
        [*command, "--processes", str(way.processes), *arguments],
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
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(min=1), help="Turns of each way.")
@click.option("--train-in", type=click.Path(path_type=Path), hidden=True, help="Train once in this folder.")
@click.option("--processes", type=int, hidden=True)
def main(
    images: int,
    image_size: int,
    epochs: int,
    precisions: tuple[str, ...],
    rounds: int,
    train_in: Path | None,
    processes: int | None,
) -> None:
    """Print a table of seconds an epoch."""
    params = settings(images, image_size, epochs)
    if train_in is not None:
        own = params.train.model_copy(update={"precision": precisions[0], "processes": processes})
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch)
            train.run(params.model, own, train_in / "data", train_in / "boxes", out, out / "log", out / "state")
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder, count = Path(scratch), cores()
        fetch.fetch(params.fetch, params.fetch.seed, folder / "data")
        recall = folder / "recall.json"
        propose.run(params.propose, params.model.name, folder / "data", folder / "boxes", recall, count)
        arguments = ["--images", str(images), "--image-size", str(image_size), "--epochs", str(epochs)]
        print(f"{images} images of {image_size} pixels, {count} cores; seconds an epoch, medians")
        print("| way | precision | alone | beside a busy program | ratio |\n| --- | --- | --- | --- | --- |")
        for precision in precisions:
            seconds: dict[tuple[str, bool], list[float]] = {}
            for _ in range(rounds):
                for busy in (False, True):
                    for way in ways(count):
                        with busy_neighbour(busy):
                            found = epoch_seconds(way, folder, precision, arguments)
                        seconds.setdefault((way.title, busy), []).extend(found)
            resolved = resolve_precision(precision, train.choose_device("cpu"))  # type: ignore[arg-type]
            for way in ways(count):
                alone, beside = (statistics.median(seconds[way.title, busy]) for busy in (False, True))
                print(f"| {way.title} | {resolved} | {alone:.2f} | {beside:.2f} | {beside / alone:.2f} |", flush=True)


if __name__ == "__main__":
    main()
