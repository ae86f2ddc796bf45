"""Parts that are damaged after they were written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.support.faults.runs import files, parts_named, require, require_same
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


def damaged_parts(world: World, name: str) -> str:
    """`finish` refuses each and names the part, `work` mends it; the first part stays whole."""
    output, foreign = world.output(name, s3=False), world.output(f"{name}-foreign", s3=False)
    world.boxcar(world.planning("plan", output)).require(0)
    world.boxcar(["work", str(output)]).require(0)
    world.boxcar([*world.planning("plan", foreign), "--min-score", "0.2"]).require(0)
    world.boxcar(["work", str(foreign)]).require(0)
    first, *parts = (name.removesuffix(".jsonl") for name in world.undisturbed.parts)
    waiting = list(DAMAGES.items())
    while waiting:  # as many at a time as there are parts
        damaged = dict(zip(parts, waiting, strict=False))
        del waiting[: len(damaged)]
        for part, (what, damage) in damaged.items():
            whole = files(output.folder / "boxes"), files(output.folder / "stats")
            damage(output.folder, foreign.folder, part, first)
            require(whole != (files(output.folder / "boxes"), files(output.folder / "stats")), f"{what}: no damage")
        refused = world.boxcar(["finish", str(output)])
        refused.require(4)
        named = {f"part-{number:07d}" for number in parts_named(refused.stderr)}
        require(named == damaged.keys(), f"damaged are {damaged.keys()}, named: {refused.stderr}")
        require(not (output.folder / "manifest.json").exists(), "published with damaged parts")
        world.boxcar(["work", str(output)]).require(0)
        require(files(output.folder / "boxes") == world.undisturbed.parts, f"not mended: {damaged}")
    world.boxcar(["finish", str(output)]).require(0)
    require_same(output.folder, world.undisturbed)
    return "finish exit 4 names each; work mends them; bytes equal"
