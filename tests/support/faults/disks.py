"""Run on disks that are full or read-only: small file systems, in a namespace that ends with its processes."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.faults.runs import BOXCAR, HANGS_SECONDS, ROOT, Ended, Happened, NotTried, read_state
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
        self._commands: list[str] = []

    def shell(self, line: str) -> None:
        """Add a line of shell; M stands for the place where the file system is mounted."""
        self._lines.append(line.replace(" M", f" {shlex.quote(str(self.mount))}"))

    def boxcar(self, name: str, arguments: list[str], variables: str = "") -> None:
        """Add a command; whatever its end, the script goes on."""
        words = " ".join(map(shlex.quote, [*BOXCAR, *arguments]))
        notes = f"{shlex.quote(str(self.noted))}/{len(self._commands)}"
        self._lines.append(
            f"code=0; {variables} {words} >{notes}.out 2>{notes}.err || code=$?; echo $code >{notes}.code"
        )
        self._commands.append(name)

    def keep(self, name: str) -> Path:
        """Copy the run as it is now, and return the path of the copy."""
        copy = self.noted / name
        self._lines.append(f"cp -r {shlex.quote(str(self.mount))}/run {shlex.quote(str(copy))}")
        return copy

    def run(self) -> dict[str, Ended]:
        """Run the script in a new namespace, and return how its commands ended."""
        environment = {**self._world.environment(), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", "\n".join(self._lines)],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANGS_SECONDS,
        )  # fmt: skip
        if done.returncode:
            raise NotTried(f"the script failed: {done.stderr[-2000:]}")
        notes = map(self._note, range(len(self._commands)))
        return {
            name: Ended(int(note("code")), note("out"), note("err"))
            for name, note in zip(self._commands, notes, strict=True)
        }

    def _note(self, number: int) -> Callable[[str], str]:
        return lambda kind: (self.noted / f"{number}.{kind}").read_text()


def _pages(*paths: Path) -> int:
    return sum(-(-file.stat().st_size // _PAGE) for path in paths for file in path.rglob("*") if file.is_file())


def full(world: World, name: str) -> Happened:
    """Run on a disk with room for half of the parts, then on one with enough.

    facts["hidden"] has the names of half-written files, which are hidden, that were left.
    """
    assert world.undisturbed.parts  # the run is made when it is asked for first
    whole = world.output("undisturbed").folder
    needed = _pages(whole / "plan", whole / "model") + 1 + _pages(whole / "boxes", whole / "stats") // 2
    session = _Session(world, name)
    output = Place(str(session.mount / "run"), session.mount / "run")
    session.shell(f"mount -t tmpfs -o size={needed * _PAGE} boxcar M")
    session.boxcar("stopped", world.planning("run", output))
    first = session.keep("first")
    session.shell("mount -o remount,size=1g M")
    session.boxcar("resumed", world.planning("run", output))
    second = session.keep("second")
    happened = Happened(session.run())
    happened.states |= {"stopped": read_state(first), "end": read_state(second)}
    happened.facts["hidden"] = [path.name for path in first.rglob(".*")]
    return happened


def read_only(world: World, name: str) -> Happened:
    """Run on a disk that is read-only from the beginning, and after the plan; then on one that can be written."""
    session = _Session(world, name)
    output = Place(str(session.mount / "run"), session.mount / "run")
    run = world.planning("run", output)
    session.shell("mount -t tmpfs boxcar M && mount -o remount,ro M")
    session.boxcar("run", run)
    session.shell("mount -o remount,rw M")
    session.boxcar("plan", world.planning("plan", output))
    session.shell("mount -o remount,ro M")
    session.boxcar("run with a plan", run)
    session.shell("mount -o remount,rw M")
    session.boxcar("resumed", run)
    last = session.keep("last")
    return Happened(session.run(), {"end": read_state(last)})


def full_temporary_folder(world: World, name: str) -> Happened:
    """Run where the folder for temporary files has no room for the artifact, which is put there for the network.

    The folder must be of some size. With a few pages left, libraries take them, and Python looks for another folder.
    """
    size = (world.artifact / "model.onnx").stat().st_size // 2
    if size <= 2**18:
        raise NotTried("the artifact is too small to fill a temporary folder")
    session = _Session(world, name)
    output = world.output(f"{name}-run", s3=False)
    session.shell(f"mount -t tmpfs -o size={size} boxcar M")
    session.boxcar("stopped", world.planning("run", output), f"TMPDIR={shlex.quote(str(session.mount))}")
    session.boxcar("resumed", world.planning("run", output))
    return Happened(session.run(), {"end": read_state(output.folder)})


def small_files_only(world: World, name: str) -> Happened:
    """Work under a limit on the size of files, which the first part exceeds; this needs no mount. Then resume."""
    output = world.output(name, s3=False)
    happened = Happened({"plan": world.boxcar(world.planning("plan", output))})
    largest = max(map(len, world.undisturbed.parts.values()))
    words = " ".join(map(shlex.quote, [*BOXCAR, "work", str(output)]))
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f {largest // 1024}; exec {words}"],
        cwd=ROOT, env={**world.environment(), "PYTHONPATH": str(ROOT), "TMPDIR": "/tmp"},
        capture_output=True, text=True, timeout=HANGS_SECONDS,
    )  # fmt: skip
    happened.commands["stopped"] = Ended(done.returncode, done.stdout, done.stderr)
    happened.states["stopped"] = read_state(output.folder)
    happened.commands["resumed"] = world.run(output)
    happened.states["end"] = read_state(output.folder)
    return happened
