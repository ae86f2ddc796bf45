"""Every fault that the batch job promises to survive, in full: a Markdown table of what was tried and what came of it.

    python -m benchmarks.faults

Photographs that scikit-image and matplotlib carry, and smaller copies of them, lie in a bucket of a local S3 server.
One run is left alone; every other is killed, disturbed, refused or damaged, started again, and held against it byte by
byte. Exits 1 when any outcome is not the promised one.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import Image

from demo.photographs import choose
from detector.runtime.artifact import SHIPPED
from tests.support.faults import damage, disks, hostile, inputs, kills, network, refusals, together
from tests.support.faults.corpus import corpus
from tests.support.faults.runs import Broken
from tests.support.faults.world import World, build_world
from tests.support.local_s3 import serve

_SIDES = range(96, 224, 4)  # longer sides of the copies: small, so that the time goes into faults
_PART_SIZE = 10


@dataclass(frozen=True)
class Fault:
    """One line of the table."""

    name: str
    times: int
    run: Callable[[], str]


def copies(count: int) -> dict[str, bytes]:
    """`count` different pictures by key: the packaged photographs in many sizes, as they are and mirrored."""
    paths = sorted(choose(None).iterdir())
    ways = itertools.product(_SIDES, (False, True), paths)
    found = {}
    for number, (side, mirrored, path) in enumerate(itertools.islice(ways, count)):
        with Image.open(path) as image:
            picture = image.convert("RGB")
        picture.thumbnail((side, side))
        if mirrored:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90)
        found[f"{number:04d}-{path.stem}.jpg"] = buffer.getvalue()
    return found


def faults(world: World, count: int, seed: int) -> list[Fault]:
    """All of them, in the order of the table."""

    def killed(number: signal.Signals) -> str:
        name = number.name.lower()
        moments = kills.draw_moments(seed + number, count, kills.count_requests(world, world.output(f"{name}-counted")))
        return kills.killed_and_resumed(world, name, moments, number)

    found = [
        Fault("hostile pictures, in one run", len(corpus()), lambda: hostile.run_over_all(world, "hostile")),
        Fault("SIGKILL at a random moment", count, lambda: killed(signal.SIGKILL)),
        Fault("SIGTERM at a random moment (exit 143)", count, lambda: killed(signal.SIGTERM)),
        Fault("a fifth of all requests disturbed", 1, lambda: network.disturbed(world, "disturbed", seed)),
        Fault(
            "a fifth of all answers lost after the server acted", 1,
            lambda: network.disturbed(world, "lost", seed, faults=("lost answer",)),
        ),
        Fault(
            "the first answer to every write lost, with conditional writes", 1,
            lambda: network.first_answers_lost(world, "answers-lost"),
        ),
        Fault(
            "answers end between an image's ETag and its length", 1,
            lambda: network.lengths_lost(world, "lengths"),
        ),
        Fault("server goes away in mid-run", 1, lambda: network.unreachable(world, "unreachable")),
        Fault("another version's ETag", 1, lambda: network.other_version(world, "other-version")),
        Fault(
            "two `run` write the plan at once", 1,
            lambda: together.two_runs(world, world.output("two-p"), "plan.json"),
        ),
        Fault(
            "two `run` write the manifest at once", 1,
            lambda: together.two_runs(world, world.output("two-m"), "manifest.json"),
        ),
        Fault("two `run` on one folder", 1, lambda: together.two_runs(world, world.output("two", s3=False))),
        Fault("two `work` on all parts", 1, lambda: together.two_workers(world, world.output("two-w"))),
        Fault("one of three shard workers killed", 1, lambda: together.one_shard_killed(world, "shards")),
        Fault("parts damaged afterwards", len(damage.DAMAGES), lambda: damage.damaged_parts(world, "damaged")),
        Fault("INPUT changes between plan and work", 5, lambda: inputs.changed_between(world, "between")),
        Fault("INPUT changes during the run", 5, lambda: inputs.changed_during(world, "during")),
        Fault("missing bucket (INPUT, OUTPUT)", 2, lambda: refusals.missing_buckets(world, "missing")),
        Fault("wrong credentials (id, secret, in mid-run)", 3, lambda: refusals.wrong_credentials(world, "wrong")),
        Fault("denied by policy (list, write, every read)", 3, lambda: refusals.denied(world, "denied")),
    ]  # fmt: skip
    if not disks.can_mount():
        found.append(Fault("a limit on the size of files", 1, lambda: disks.small_files_only(world, "small")))
    else:
        found += [
            Fault("full disk", 1, lambda: disks.full(world, "full")),
            Fault("read-only disk, from the start and in mid-run", 2, lambda: disks.read_only(world, "read-only")),
            Fault("full temporary folder", 1, lambda: disks.full_temporary_folder(world, "temporary")),
        ]
    return found


def attempt(fault: Fault) -> tuple[str, bool]:
    """What came of it, and whether that was promised."""
    try:
        return fault.run(), True
    except Broken as broken:
        click.echo(f"{fault.name}: {broken}", err=True)
        return f"**broken**: {str(broken).splitlines()[0][:120]}", False


@click.command()
@click.option("--artifact", type=click.Path(path_type=Path), default=SHIPPED, help="[default: the shipped one]")
@click.option("--photos", type=click.IntRange(min=30), default=200, show_default=True, help="Pictures in the bucket.")
@click.option("--kills", "count", type=click.IntRange(min=3), default=20, show_default=True, help="Of each signal.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--only", default="", help="Try only the faults whose name contains this.")
@click.option(
    "--quick", is_flag=True, help="Fork processes that have imported everything, and wait briefly, as tests do."
)
def main(artifact: Path, photos: int, count: int, seed: int, only: str, quick: bool) -> None:
    """Try every fault, and print the table."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        # The server may take its time to end; the table is printed by then.
        with contextlib.suppress(subprocess.TimeoutExpired), serve(scratch / "s3", scratch / "s3.log") as server:
            world = build_world(server, scratch / "own", artifact, copies(photos), _PART_SIZE, hasty=quick)
            for fault in faults(world, count, seed):
                if only in fault.name:
                    start = time.monotonic()
                    rows.append((fault, *attempt(fault)))
                    click.echo(f"{time.monotonic() - start:6.0f} s  {fault.name}: {rows[-1][1]}", err=True)
            click.echo("| fault | times tried | outcome |\n| --- | --- | --- |")
            for fault, outcome, _ in rows:
                click.echo(f"| {fault.name} | {fault.times} | {outcome} |")
    if not all(kept for _, _, kept in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
