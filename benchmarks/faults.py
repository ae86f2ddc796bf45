"""Try every fault that the batch job promises to survive, and print what came of each as a Markdown table.

    python -m benchmarks.faults

Photographs that scikit-image and matplotlib carry, and smaller copies of them, lie in a bucket of a local S3 server.
One run is left alone. Every other run is killed, disturbed, refused or damaged, started again, and compared with the
first one byte by byte. Exits with 1 when an outcome is not the promised one.
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
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import Image

from demo.photographs import choose
from detector.runtime.shipped import SHIPPED
from tests.support.faults import (
    clocks,
    credentials,
    damage,
    disks,
    hostile,
    inputs,
    kills,
    network,
    nodes,
    refusals,
    together,
)  # fmt: skip
from tests.support.faults.corpus import corpus
from tests.support.faults.proxy import FAULTS
from tests.support.faults.runs import Happened, NotTried, State
from tests.support.faults.world import World, build_world
from tests.support.local_s3 import serve

_SIDES = range(96, 224, 4)  # longer sides of the copies: small, so that the time goes into faults
_PART_SIZE = 10
# What happens to an image, and the status that its record must have.
_STATUSES = {"nothing": "ok", "deleted": "missing", "changed": "changed"}
# The seconds between two kills of a Ray cluster's nodes, the least number of kills, and how often INPUT holds the
# photographs. A minute between kills would be more usual, but a run here would end after one of them.
_NODES_SECONDS, _LEAST_ROUNDS, _COPIES = 10.0, 5, 5
# On one busy core, killed nodes cost more time than the parts: 600 seconds were not enough.
_NODES_HANG_SECONDS = 3600.0
_RESUMED = "exit 5 with one line; resumed, bytes equal"


def _always(_: Happened) -> bool:
    return True


@dataclass(frozen=True)
class Fault:
    """One line of the table: what is tried, and what the job promises.

    codes: the exit code of each command, or a function that checks all of them; same: the states that must equal the
    run that was left alone; holds: what else must be true; says: the outcome in words; planned_once: the manifest must
    have the plan's time too, which a server without conditional writes does not promise when two plans are written.
    """

    name: str
    times: int
    run: Callable[[], Happened]
    codes: dict[str, int] | Callable[[dict[str, int]], bool]
    says: str | Callable[[Happened], str]
    same: tuple[str, ...] = ()
    holds: Callable[[Happened], bool] = _always
    planned_once: bool = True

    def broken(self, happened: Happened, undisturbed: State) -> list[str]:
        """Return which promises did not hold."""
        found = []
        if not (self.codes(happened.codes) if callable(self.codes) else happened.codes == self.codes):
            found.append(f"exit codes {happened.codes}")
        found += [
            f"`{name}` says more or less than one line" for name, end in happened.commands.items() if not end.tidy
        ]
        for name in self.same:
            state = happened.states[name]
            if not state.published or state != undisturbed or (self.planned_once and not state.planned_once):
                found.append(f"`{name}` differs from the run that was left alone")
        if not self.holds(happened):
            found.append(f"facts {happened.facts}")
        return found


def copies(count: int) -> dict[str, bytes]:
    """Return `count` different images by key: the packaged photographs in many sizes, as they are and mirrored."""
    paths = sorted(choose(None).iterdir())
    ways = itertools.product(_SIDES, (False, True), paths)
    found = {}
    for number, (side, mirrored, path) in enumerate(itertools.islice(ways, count)):
        with Image.open(path) as image:
            copy = image.convert("RGB")
        copy.thumbnail((side, side))
        if mirrored:
            copy = copy.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        buffer = io.BytesIO()
        copy.save(buffer, "JPEG", quality=90)
        found[f"{number:04d}-{path.stem}.jpg"] = buffer.getvalue()
    return found


def _whole_parts(undisturbed: State) -> Callable[[Happened], bool]:
    return lambda happened: all(state.whole(undisturbed) for state in happened.states.values())


def _right_records(happened: Happened) -> bool:
    """Every hostile image has the status and the size that it must get."""
    images = corpus()
    found = {key: (one["status"], (one["width"], one["height"])) for key, one in happened.facts["records"]}
    return found == {key: (image.status, image.size or (None, None)) for key, image in images.items()}


def _right_statuses(happened: Happened) -> bool:
    done: dict[str, str] = happened.facts["done"]
    return happened.facts["statuses"] == {key: _STATUSES[what] for key, what in done.items()}


def _right_versions(happened: Happened) -> bool:
    statuses, altered = happened.facts["statuses"], happened.facts["altered"]
    return bool(altered) and statuses == {name: "changed" if name in altered else "ok" for name in statuses}


def _agree(happened: Happened) -> bool:
    facts = happened.facts
    same_plan = facts["manifest"]["lineage"]["plan_digest"] == facts["plan"]["digest"]
    return same_plan and facts["latest"]["run"] == facts["plan"]["run"]


def _say_disturbed(happened: Happened) -> str:
    codes = list(happened.codes.values())
    exits = "exit 0 at once" if codes == [0] else f"exits {', '.join(map(str, codes))}"
    facts = happened.facts
    return f"{facts['disturbed']} of {facts['requests']} requests disturbed; {exits}; bytes equal"


def _say_killed(happened: Happened) -> str:
    spread = ", ".join(f"{count} in {phase}" for phase, count in happened.facts["killed"].items())
    return f"killed {spread}; {happened.facts['runs']} runs, all bytes equal"


def _say_nodes(happened: Happened) -> str:
    facts = happened.facts
    killed = f"{facts['killed']} nodes killed in {facts['rounds']} rounds and {facts['minutes']:.1f} minutes"
    return f"{killed}; exit 0 at once; bytes equal"


def _say_renewed(happened: Happened) -> str:
    return f"{happened.facts['tokens']} tokens used, none refused; exit 0 at once; bytes equal"


def _as_on_this_machine(happened: Happened) -> bool:
    end, local = happened.states["end"], happened.states["local"]
    return end.published and end == local and happened.facts["rounds"] >= _LEAST_ROUNDS


def _say_counts(happened: Happened) -> str:
    counts = Counter(record["status"] for _, record in happened.facts["records"])
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


def _say_lost(happened: Happened) -> str:
    return f"{len(happened.facts['lost'])} answers lost; exit 0, plan, manifest and latest.json agree"


def _say_versions(happened: Happened) -> str:
    statuses, altered = happened.facts["statuses"], happened.facts["altered"]
    return f"{len(altered)} records `changed`, {len(statuses) - len(altered)} `ok`"


def faults(world: World, count: int, seed: int) -> list[Fault]:
    """Return all faults in the order of the table."""
    whole = _whole_parts(world.undisturbed)

    def killed(number: signal.Signals, title: str) -> Fault:
        name, code = number.name.lower(), 143 if number == signal.SIGTERM else -number

        def run() -> Happened:
            requests = kills.count_requests(world, world.output(f"{name}-counted"))
            return kills.killed_and_resumed(world, name, kills.draw_moments(seed + number, count, requests), number)

        def codes(found: dict[str, int]) -> bool:
            return all(end == (0 if key.endswith(("resumed", "escaped")) else code) for key, end in found.items())

        def holds(happened: Happened) -> bool:
            ended = [key for key in happened.states if key.endswith(("resumed", "escaped"))]
            return whole(happened) and all(happened.states[key] == world.undisturbed for key in ended)

        return Fault(title, count, run, codes, _say_killed, holds=holds)

    def disturbed(title: str, name: str, kinds: tuple[str, ...] = FAULTS) -> Fault:
        def codes(found: dict[str, int]) -> bool:
            *given_up, last = found.values()
            return last == 0 and set(given_up) <= {5}

        return Fault(
            title, 1, lambda: network.disturbed(world, name, seed, faults=kinds), codes, _say_disturbed, ("end",),
            lambda happened: whole(happened) and happened.facts["disturbed"] > 0,
        )  # fmt: skip

    def two_runs(title: str, name: str, meet: str = "") -> Fault:
        return Fault(
            title, 1, lambda: together.two_runs(world, world.output(name, s3=bool(meet)), meet),
            {"one": 0, "two": 0, "finish": 0}, "both exit 0; bytes equal", ("both", "end"),
            planned_once=meet != "plan.json",
        )  # fmt: skip

    stopped = {"stopped": 5, "resumed": 0}
    found = [
        Fault(
            "hostile images, in one run", len(corpus()), lambda: hostile.run_over_all(world, "hostile"), {"run": 0},
            _say_counts, holds=_right_records,
        ),
        killed(signal.SIGKILL, "SIGKILL at a random moment"),
        killed(signal.SIGTERM, "SIGTERM at a random moment (exit 143)"),
        disturbed("a fifth of all requests disturbed", "disturbed"),
        disturbed("a fifth of all answers lost after the server acted", "lost", ("lost answer",)),
        Fault(
            "the first answer to every write lost, with conditional writes", 1,
            lambda: network.first_answers_lost(world, "answers-lost"), {"run": 0},
            _say_lost, holds=_agree,
        ),
        Fault(
            "answers end between an image's ETag and its length", 1, lambda: network.lengths_lost(world, "lengths"),
            {"run": 0}, lambda happened: f"{happened.facts['cut']} answers cut; exit 0 at once; bytes equal", ("end",),
            lambda happened: happened.facts["cut"] > 0,
        ),
        Fault(
            "server disappears during a run", 1, lambda: network.unreachable(world, "unreachable"), stopped, _RESUMED,
            ("end",), whole,
        ),
        Fault(
            "another version's ETag", 1, lambda: network.other_version(world, "other-version"), {"plan": 0, "work": 0},
            _say_versions, holds=_right_versions,
        ),
        two_runs("two `run` write the plan at once", "two-p", "plan.json"),
        two_runs("two `run` write the manifest at once", "two-m", "manifest.json"),
        two_runs("two `run` on one folder", "two"),
        Fault(
            "two `work` on all parts", 1, lambda: together.two_workers(world, world.output("two-w")),
            {"plan": 0, "one": 0, "two": 0, "finish": 0}, "both exit 0; bytes equal", ("end",),
        ),
        Fault(
            "one of three shard workers killed", 1, lambda: together.one_shard_killed(world, "shards"),
            {
                "plan": 0, "shard 0": 0, "shard 2": 0, "killed": -signal.SIGKILL, "finish too early": 4,
                "shard 1 again": 0, "finish": 0,
            },
            lambda happened: f"finish exit 4 names {len(happened.facts['missing'])} parts; then bytes equal", ("end",),
            lambda happened: whole(happened) and happened.facts["named"] == happened.facts["missing"],
        ),
        Fault(
            "parts damaged afterwards", len(damage.DAMAGES), lambda: damage.damaged_parts(world, "damaged"),
            lambda codes: all(code == (4 if "finish with" in name else 0) for name, code in codes.items()),
            "finish exit 4 names each; work makes them again; bytes equal", ("end",),
            lambda happened: happened.facts["named"] == happened.facts["damaged"]
            and not happened.facts["without effect"],
        ),
        Fault(
            "INPUT changes between plan and work", 5, lambda: inputs.changed_between(world, "between"),
            {"plan": 0, "work": 0}, "deleted `missing`, others `changed`; a new image waits for the next run",
            holds=_right_statuses,
        ),
        Fault(
            "INPUT changes during the run", 5, lambda: inputs.changed_during(world, "during"), {"run": 0},
            "deleted `missing`, others `changed`; exit 0", holds=_right_statuses,
        ),
        Fault(
            "missing bucket (INPUT, OUTPUT)", 2, lambda: refusals.missing_buckets(world, "missing"),
            {"input": 5, "output": 5}, "exit 5 with one line",
            holds=lambda happened: happened.states["input"].digest is None,
        ),
        Fault(
            "wrong credentials (id, secret, during a run)", 3, lambda: refusals.wrong_credentials(world, "wrong"),
            lambda codes: all(code == (5 if "wrong" in name else 0) for name, code in codes.items()),
            "exit 5 with one line, no record; resumed, bytes equal", ("end",),
            lambda happened: not happened.states["refused"].parts,
        ),
        Fault(
            "token expires during a run", len(credentials.REFUSALS), lambda: credentials.expired(world, "expired"),
            lambda codes: all(code == (5 if "stopped" in name else 0) for name, code in codes.items()),
            "exit 5 with one line; resumed with a new token, bytes equal",
            tuple(f"resumed, {refusal}" for refusal in credentials.REFUSALS),
            lambda happened: whole(happened) and happened.facts["refused"] > 0,
        ),
        Fault(
            "credentials that renew themselves expire during a run", 1,
            lambda: credentials.renewed(world, "renewed", seconds=10), {"run": 0}, _say_renewed, ("end",),
            lambda happened: happened.facts["tokens"] > 1 and not happened.facts["refused"],
        ),
        Fault(
            "clock jumps an hour ahead, and two back", 1, lambda: clocks.jumping(world, "jumping"),
            {"run": 0},
            "exit 0 at once; no part ends before it began or takes an hour; bytes equal", ("end",),
            lambda happened: happened.facts["skews"] == {-1, 0, 1} and clocks.lengths_are_true(happened),
        ),
        Fault(
            "clock jumps an hour ahead of the server's", 1, lambda: clocks.refused(world, "skewed"), stopped, _RESUMED,
            ("end",), whole,
        ),
        Fault(
            f"Ray: every {_NODES_SECONDS:.0f} s one or two of three nodes killed and replaced, to the end", 1,
            lambda: nodes.killed_nodes(
                world, "nodes", seed, seconds=_NODES_SECONDS, copies=_COPIES, hangs_seconds=_NODES_HANG_SECONDS
            ),
            {"local": 0, "end": 0}, _say_nodes, holds=_as_on_this_machine,
        ),
        Fault(
            "denied by policy (list, write, every read)", 3, lambda: refusals.denied(world, "denied"),
            {"ListBucket": 5, "PutObject": 5, "GetObject": 5}, "exit 5 with one line, no record",
            holds=lambda happened: not happened.states["GetObject"].parts,
        ),
    ]  # fmt: skip
    if not disks.can_mount():
        return [
            *found,
            Fault(
                "a limit on the size of files", 1, lambda: disks.small_files_only(world, "small"),
                {"plan": 0} | stopped, _RESUMED, ("end",), whole,
            ),
        ]  # fmt: skip
    return [
        *found,
        Fault(
            "full disk", 1, lambda: disks.full(world, "full"), stopped,
            "exit 5 with one line, only complete parts; resumed, bytes equal", ("end",),
            lambda happened: whole(happened) and not happened.facts["hidden"],
        ),
        Fault(
            "read-only disk, from the start and during a run", 2, lambda: disks.read_only(world, "read-only"),
            {"run": 5, "plan": 0, "run with a plan": 5, "resumed": 0}, _RESUMED, ("end",),
        ),
        Fault(
            "full temporary folder", 1, lambda: disks.full_temporary_folder(world, "temporary"), stopped, _RESUMED,
            ("end",),
        ),
    ]  # fmt: skip


def attempt(fault: Fault, undisturbed: State) -> tuple[str, bool]:
    """Try one fault; returns the outcome in words, and whether it is the promised one."""
    try:
        happened = fault.run()
    except NotTried as error:
        click.echo(f"{fault.name}: {error}", err=True)
        return f"**not tried**: {str(error).splitlines()[0][:120]}", False
    if broken := fault.broken(happened, undisturbed):
        click.echo(f"{fault.name}: {'; '.join(broken)}\n{happened.said}", err=True)
        return f"**broken**: {broken[0][:120]}", False
    return fault.says if isinstance(fault.says, str) else fault.says(happened), True


@click.command()
@click.option("--artifact", type=click.Path(path_type=Path), default=SHIPPED, help="[default: the shipped one]")
@click.option("--photos", type=click.IntRange(min=30), default=200, show_default=True, help="Images in the bucket.")
@click.option(
    "--kills", "count", type=click.IntRange(min=3), default=20, show_default=True, help="Kills by each signal."
)
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
                    rows.append((fault, *attempt(fault, world.undisturbed)))
                    click.echo(f"{time.monotonic() - start:6.0f} s  {fault.name}: {rows[-1][1]}", err=True)
            click.echo("| fault | times tried | outcome |\n| --- | --- | --- |")
            for fault, outcome, _ in rows:
                click.echo(f"| {fault.name} | {fault.times} | {outcome} |")
    if not all(kept for _, _, kept in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
