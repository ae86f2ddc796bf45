"""`boxcar` as a process of its own, and what a published run consists of."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).parents[3]
BOXCAR = (sys.executable, "-m", "jobs")
# A run that is not over by then hangs.
HANGS_SECONDS = 900.0


class Broken(Exception):
    """What the job promises did not happen; the message says what did."""


def require(holds: bool, message: str) -> None:
    """Raise Broken unless it holds."""
    if not holds:
        raise Broken(message)


def parts_named(text: str) -> set[int]:
    """The numbers of the parts that a message names, ranges filled."""
    return {
        number
        for first, last in re.findall(r"part-(\d{7})(?: to part-(\d{7}))?", text)
        for number in range(int(first), int(last or first) + 1)
    }


@dataclass(frozen=True)
class Ended:
    """A command that is over."""

    code: int
    stdout: str
    stderr: str

    def require(self, code: int, *words: str) -> None:
        """It ended with this exit code; for codes of failure with one `error:` line, which holds the words."""
        errors = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        require(self.code == code, f"exit {self.code} instead of {code}: {self.stderr[-2000:]}")
        require("Traceback" not in self.stderr, f"a traceback: {self.stderr[-2000:]}")
        if code not in (0, 143):
            require(len(errors) == 1, f"{len(errors)} error lines instead of one: {self.stderr[-2000:]}")
            for word in words:
                require(word in errors[0], f"{word!r} is not in: {errors[0]}")


class Running(Protocol):
    """A command that was started."""

    def send(self, number: signal.Signals) -> None:
        """A signal, if it is not over yet."""

    def wait(self) -> Ended:
        """Until it is over; raises Broken when it hangs."""


class Process:
    """A command as people start it."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        # The package is that of this very working tree.
        self._arguments = list(arguments)
        path = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [*BOXCAR, *arguments], cwd=ROOT, env={**environment, "PYTHONPATH": path}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def send(self, number: signal.Signals) -> None:
        """See Running."""
        self._process.send_signal(number)

    def wait(self) -> Ended:
        """See Running."""
        try:
            stdout, stderr = self._process.communicate(timeout=HANGS_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise Broken(f"no end after {HANGS_SECONDS:.0f} s: {self._arguments}") from None
        return Ended(self._process.returncode, stdout, stderr)


@dataclass(frozen=True)
class Published:
    """What must be the same however a run came about; times and costs may differ."""

    digest: str
    plan: dict[str, bytes]
    parts: dict[str, bytes]
    listed: list[dict[str, Any]]
    status: str


def files(folder: Path) -> dict[str, bytes]:
    """The files in a folder, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def read_published(output: Path) -> Published:
    """A run that says that it is published."""
    for name in ("plan.json", "manifest.json"):
        require((output / name).is_file(), f"{name} is missing")
    manifest = json.loads((output / "manifest.json").read_bytes())
    plan = json.loads((output / "plan.json").read_bytes())
    require(manifest["lineage"]["plan_digest"] == plan["digest"], "the manifest is that of another plan")
    require(manifest["planned_at"] == plan["planned_at"], "the manifest has another time of planning than the plan")
    return Published(
        plan["digest"], files(output / "plan"), files(output / "boxes"), manifest["parts"], manifest["status"]
    )


def require_same(output: Path, undisturbed: Published) -> None:
    """The run in `output` is published, and as the undisturbed one in everything that counts."""
    found = read_published(output)
    for name in ("digest", "plan", "parts", "listed", "status"):
        require(
            getattr(found, name) == getattr(undisturbed, name), f"{output}: `{name}` differs from the undisturbed run's"
        )


def require_whole_parts(output: Path, undisturbed: Published) -> None:
    """Every file in boxes/ is a whole part: what is there at any moment may be read."""
    for name, data in files(output / "boxes").items():
        require(undisturbed.parts.get(name) == data, f"{output}/boxes/{name}: {len(data)} bytes that are no whole part")
