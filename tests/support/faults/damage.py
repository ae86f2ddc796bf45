"""Damage parts after they were written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.support.faults.runs import Happened, files, parts_named, read_state
from tests.support.faults.world import World


def _records(output: Path, part: str) -> Path:
    return output / "boxes" / f"{part}.jsonl"


def _stats(output: Path, part: str) -> Path:
    return output / "stats" / f"{part}.json"


# Takes the run, another run of the same images, the part to damage, and another part of the run.
Damage = Callable[[Path, Path, str, str], None]


def _rewrite(change: Callable[[bytes], bytes]) -> Damage:
    def damage(output: Path, _foreign: Path, part: str, _other: str) -> None:
        path = _records(output, part)
        path.write_bytes(change(path.read_bytes()))

    return damage


def _copy_foreign(output: Path, foreign: Path, part: str, _other: str) -> None:
    for where in (_records, _stats):
        shutil.copyfile(where(foreign, part), where(output, part))


def _copy_other(output: Path, _foreign: Path, part: str, other: str) -> None:
    for where in (_records, _stats):
        shutil.copyfile(where(output, other), where(output, part))


DAMAGES: dict[str, Damage] = {
    "truncated in a line": _rewrite(lambda data: data[: len(data) // 2]),
    "truncated after a line": _rewrite(lambda data: data[: data.index(b"\n") + 1]),
    "emptied": _rewrite(lambda data: b""),
    "one figure altered": _rewrite(lambda data: data.replace(b'"x":', b'"x":1', 1)),
    "one line twice": _rewrite(lambda data: data[: data.index(b"\n") + 1] + data),
    "lines in another order": _rewrite(lambda data: b"".join(reversed(data.splitlines(keepends=True)))),
    "deleted": lambda output, _foreign, part, _other: _records(output, part).unlink(),
    "statistics deleted": lambda output, _foreign, part, _other: _stats(output, part).unlink(),
    "another run's": _copy_foreign,
    "another part's": _copy_other,
}


def damaged_parts(world: World, name: str) -> Happened:
    """Damage every part but the first, `finish`, `work`; as often as all kinds of damage take; then `finish`.

    facts["damaged"] and facts["named"] have the parts of each round, as they were damaged and as `finish` named them;
    facts["without effect"] the kinds of damage that changed no file.
    """
    output, foreign = world.output(name, s3=False), world.output(f"{name}-foreign", s3=False)
    happened = Happened(facts={"damaged": [], "named": [], "without effect": []})
    happened.commands["plan"] = world.boxcar(world.planning("plan", output))
    happened.commands["work"] = world.boxcar(["work", str(output)])
    happened.commands["plan another"] = world.boxcar([*world.planning("plan", foreign), "--min-score", "0.2"])
    happened.commands["work on another"] = world.boxcar(["work", str(foreign)])
    first, *parts = (name.removesuffix(".jsonl") for name in world.undisturbed.parts)
    waiting = list(DAMAGES.items())
    while waiting:  # as many at a time as there are parts
        damaged = dict(zip(parts, waiting, strict=False))
        del waiting[: len(damaged)]
        for part, (what, damage) in damaged.items():
            whole = files(output.folder / "boxes"), files(output.folder / "stats")
            damage(output.folder, foreign.folder, part, first)
            if whole == (files(output.folder / "boxes"), files(output.folder / "stats")):
                happened.facts["without effect"].append(what)
        kinds = ", ".join(what for what, _ in damaged.values())
        refused = happened.commands[f"finish with {kinds}"] = world.boxcar(["finish", str(output)])
        happened.states[f"refused: {kinds}"] = read_state(output.folder)
        happened.facts["damaged"].append(set(damaged))
        happened.facts["named"].append({f"part-{number:07d}" for number in parts_named(refused.stderr)})
        happened.commands[f"work after {kinds}"] = world.boxcar(["work", str(output)])
        happened.states[f"repaired: {kinds}"] = read_state(output.folder)
    happened.commands["finish"] = world.boxcar(["finish", str(output)])
    happened.states["end"] = read_state(output.folder)
    return happened
