"""Disks that are full or read-only: small file systems of their own, in a namespace that ends with its processes."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.faults.runs import BOXCAR, HANGS_SECONDS, ROOT, Ended, require, require_same, require_whole_parts
from tests.support.faults.world import Place, World

_PAGE = 4096


def can_mount() -> bool:
    """Whether this kernel lets us mount in a namespace of our own."""
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=64k", "boxcar", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


class _Session:
    """A shell script for one namespace: mounts and commands, each command's end noted."""

    def __init__(self, world: World, name: str) -> None:
        self.mount = world.scratch / name / "mount"
        self.noted = world.scratch / name / "noted"
        for folder in (self.mount, self.noted):
            folder.mkdir(parents=True)
        self._world = world
        self._lines = ["set -eu"]
        self._commands = 0

    def shell(self, line: str) -> None:
        """A line as it is; M is where the file system is mounted."""
        self._lines.append(line.replace(" M", f" {shlex.quote(str(self.mount))}"))

    def boxcar(self, arguments: list[str], variables: str = "") -> None:
        """A command; whatever its end, the script goes on."""
        words = " ".join(map(shlex.quote, [*BOXCAR, *arguments]))
        notes = f"{shlex.quote(str(self.noted))}/{self._commands}"
        self._lines.append(
            f"code=0; {variables} {words} >{notes}.out 2>{notes}.err || code=$?; echo $code >{notes}.code"
        )
        self._commands += 1

    def keep(self, name: str) -> Path:
        """Copy the run as it is now; the path of the copy."""
        copy = self.noted / name
        self._lines.append(f"cp -r {shlex.quote(str(self.mount))}/run {shlex.quote(str(copy))}")
        return copy

    def run(self) -> list[Ended]:
        """All of it, in a new namespace; how the commands ended."""
        environment = {**self._world.environment(), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", "\n".join(self._lines)],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANGS_SECONDS,
        )  # fmt: skip
        require(done.returncode == 0, f"the script failed: {done.stderr[-2000:]}")
        return [
            Ended(int(note("code")), note("out"), note("err"))
            for note in (self._note(number) for number in range(self._commands))
        ]

    def _note(self, number: int) -> Callable[[str], str]:
        return lambda kind: (self.noted / f"{number}.{kind}").read_text()


def _pages(*paths: Path) -> int:
    return sum(-(-file.stat().st_size // _PAGE) for path in paths for file in path.rglob("*") if file.is_file())


def full(world: World, name: str) -> str:
    """A disk with room for half of the parts; then there is more."""
    whole = world.output("undisturbed").folder
    needed = _pages(whole / "plan", whole / "model") + 1 + _pages(whole / "boxes", whole / "stats") // 2
    session = _Session(world, name)
    output = Place(str(session.mount / "run"), session.mount / "run")
    session.shell(f"mount -t tmpfs -o size={needed * _PAGE} boxcar M")
    session.boxcar(world.planning("run", output))
    first = session.keep("first")
    session.shell("mount -o remount,size=1g M")
    session.boxcar(world.planning("run", output))
    second = session.keep("second")
    stopped, resumed = session.run()
    stopped.require(5, "No space left on device", str(output))
    require((first / "plan.json").is_file() and any((first / "boxes").iterdir()), "full before the first part")
    require(not list(first.rglob(".*")), "half-written files are left")
    require_whole_parts(first, world.undisturbed)
    resumed.require(0)
    require_same(second, world.undisturbed)
    return "exit 5 with one line, whole parts only; resumed, bytes equal"


def read_only(world: World, name: str) -> str:
    """From the beginning, and after the plan; then it may be written again."""
    session = _Session(world, name)
    output = Place(str(session.mount / "run"), session.mount / "run")
    run = world.planning("run", output)
    session.shell("mount -t tmpfs boxcar M && mount -o remount,ro M")
    session.boxcar(run)
    session.shell("mount -o remount,rw M")
    session.boxcar(world.planning("plan", output))
    session.shell("mount -o remount,ro M")
    session.boxcar(run)
    session.shell("mount -o remount,rw M")
    session.boxcar(run)
    last = session.keep("last")
    at_once, planned, later, resumed = session.run()
    at_once.require(5, "Read-only file system", str(output))
    planned.require(0)
    later.require(5, "Read-only file system", str(output))
    resumed.require(0)
    require_same(last, world.undisturbed)
    return "exit 5 with one line; resumed, bytes equal"


def full_temporary_folder(world: World, name: str) -> str:
    """The folder for temporary files has no room for the artifact, which is put there for the network to load it.

    It must be of some size: with a few pages left, libraries take them, and Python looks for another folder.
    """
    size = (world.artifact / "model.onnx").stat().st_size // 2
    require(size > 2**18, "the artifact is too small for this")
    session = _Session(world, name)
    output = world.output(f"{name}-run", s3=False)
    session.shell(f"mount -t tmpfs -o size={size} boxcar M")
    session.boxcar(world.planning("run", output), f"TMPDIR={shlex.quote(str(session.mount))}")
    session.boxcar(world.planning("run", output))
    stopped, resumed = session.run()
    stopped.require(5, "No space left on device")
    require_whole_parts(output.folder, world.undisturbed)
    resumed.require(0)
    require_same(output.folder, world.undisturbed)
    return "exit 5 with one line; resumed, bytes equal"


def small_files_only(world: World, name: str) -> str:
    """Where nothing can be mounted: a limit on the size of files, which the first part exceeds."""
    output = world.output(name, s3=False)
    world.boxcar(world.planning("plan", output)).require(0)
    largest = max(map(len, world.undisturbed.parts.values()))
    words = " ".join(map(shlex.quote, [*BOXCAR, "work", str(output)]))
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f {largest // 1024}; exec {words}"],
        cwd=ROOT, env={**world.environment(), "PYTHONPATH": str(ROOT), "TMPDIR": "/tmp"},
        capture_output=True, text=True, timeout=HANGS_SECONDS,
    )  # fmt: skip
    Ended(done.returncode, done.stdout, done.stderr).require(5, "File too large")
    require_whole_parts(output.folder, world.undisturbed)
    world.require_resumed(output)
    return "exit 5 with one line, whole parts only; resumed, bytes equal"
