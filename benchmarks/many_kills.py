"""Kill one run over many small images again and again, and compare it byte by byte with a run that was left alone.

    python -m benchmarks.many_kills

The images are drawn with a seed and lie in a bucket of a local S3 server, as does OUTPUT. The artifact is a tiny one,
so that the time goes into listing, reading, writing and resuming. SIGKILL comes at moments that a seed draws, in
planning, work, finish and publishing. Prints a line of the table of faults, and what the phases and the restarts took.
Exits with 1 when anything is lost or differs.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from tests.support.artifacts import make_artifact
from tests.support.faults.many import draw_moments, killed_many_times, left_alone, write_small_images
from tests.support.faults.runs import read_state
from tests.support.faults.world import World
from tests.support.local_s3 import serve

# A command that takes longer hangs: the whole run takes some 10 ms an image on one core.
_HANGS_SECONDS = 3600.0


@click.command()
@click.option("--images", type=click.IntRange(min=50), default=100_000, show_default=True)
@click.option("--kills", type=click.IntRange(min=4), default=100, show_default=True)
@click.option("--part-size", type=click.IntRange(min=1), default=500, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--quick", is_flag=True, help="Fork processes that have imported everything, as tests do.")
def main(images: int, kills: int, part_size: int, seed: int, quick: bool) -> None:
    """Kill, resume, compare, and print what came of it."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        write_small_images(scratch / "s3/fault-photos/in", images, seed)
        (scratch / "s3/fault-boxes").mkdir()
        artifact = make_artifact(scratch / "artifact", proposals=False)
        # The server may take its time to end; everything is printed by then.
        with contextlib.suppress(subprocess.TimeoutExpired), serve(scratch / "s3", scratch / "s3.log") as server:
            world = World(server, scratch, artifact, part_size, hasty=quick)
            world.boxcar(["--version"])  # what is measured below starts as every later command does
            alone = world.output("alone")
            whole = left_alone(world, alone, _HANGS_SECONDS)
            undisturbed = read_state(alone.folder)
            click.echo(f"left alone: {', '.join(f'{s:.1f} s {phase}' for phase, s in whole.seconds.items())}", err=True)
            moments = draw_moments(seed, kills, len(undisturbed.parts), whole)
            happened = killed_many_times(
                world, world.output("killed"), moments, _HANGS_SECONDS, lambda line: click.echo(line, err=True)
            )
    facts = happened.facts
    broken = [f"exit {end.code} of {what}: {end.stderr[-500:]}" for what, end in happened.commands.items() if end.code]
    broken += [f"`{what}` differs" for what, end in happened.states.items() if end != undisturbed or not end.published]
    spread = ", ".join(f"{count} in {phase}" for phase, count in facts["killed"].items())
    outcome = f"**broken**: {broken[0]}" if broken else f"killed {spread}; all bytes equal"
    click.echo("| fault | times tried | outcome |\n| --- | --- | --- |")
    click.echo(f"| SIGKILL in one run over {images:,} small images | {facts['killed'].total()} | {outcome} |\n")
    click.echo("| phase | seconds, left alone |\n| --- | --- |")
    for phase, seconds in whole.seconds.items():
        click.echo(f"| {phase} | {seconds:.1f} |")
    if first := facts["first part"]:
        click.echo(f"\nStarted again, a command makes its first part after {statistics.median(first):.1f} s (median).")
    if broken:
        click.echo("\n".join(broken), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
