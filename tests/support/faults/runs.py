"""Run `boxcar` as a process of its own, and read what it left in its OUTPUT."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).parents[3]
BOXCAR = (sys.executable, "-m", "jobs")
# A command that has not ended by then hangs.
HANGS_SECONDS = 600.0


class NotTried(Exception):
    """The fault did not come about, so that nothing is known of the job; or a command hangs. The message says which."""


def parts_named(text: str) -> set[int]:
    """Return the numbers of the parts that a message names, with ranges filled."""
    return {
        number
        for first, last in re.findall(r"part-(\d{7})(?: to part-(\d{7}))?", text)
        for number in range(int(first), int(last or first) + 1)
    }


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """The lines that begin with `error: `."""
        return [line for line in self.stderr.splitlines() if line.startswith("error: ")]

    @property
    def tidy(self) -> bool:
        """Whether there is no traceback, and exactly one line of error where the exit code is that of a failure."""
        failed = self.code > 0 and self.code != 128 + signal.SIGTERM
        return "Traceback" not in self.stderr and (not failed or len(self.errors) == 1)


@dataclass(frozen=True)
class State:
    """What an OUTPUT holds, without times and costs, which may differ from run to run."""

    published: bool  # there is a manifest, and it has the digest of this plan
    planned_once: bool = field(compare=False)  # ... and the time of this plan
    digest: str | None  # of the plan; None where there is no plan
    plan: dict[str, bytes]
    parts: dict[str, bytes]
    listed: list[dict[str, Any]]  # the parts that the manifest lists; none where there is no manifest
    status: str | None  # the manifest's verdict

    def whole(self, undisturbed: State) -> bool:
        """Whether every file in boxes/ is a whole part: what is there at any moment may be read."""
        return self.parts.items() <= undisturbed.parts.items()


@dataclass
class Happened:
    """What came of one fault: how each command ended, what OUTPUT held afterwards, and facts of this fault alone."""

    commands: dict[str, Ended] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def codes(self) -> dict[str, int]:
        """The exit code of each command."""
        return {name: ended.code for name, ended in self.commands.items()}

    @property
    def said(self) -> str:
        """How each command ended and the end of what it said, for the message of a test that fails."""
        return "\n".join(f"{name}: exit {end.code}\n{end.stderr[-2000:]}" for name, end in self.commands.items())


class Running(Protocol):
    """A command that was started."""

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the command has ended."""

    def wait(self, hangs_seconds: float = HANGS_SECONDS) -> Ended:
        """Wait until the command ends. Raises NotTried when it takes longer than this."""


class Process:
    """A command started as people start it."""

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

    def wait(self, hangs_seconds: float = HANGS_SECONDS) -> Ended:
        """See Running."""
        try:
            stdout, stderr = self._process.communicate(timeout=hangs_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise NotTried(f"no end after {hangs_seconds:.0f} s: {self._arguments}") from None
        return Ended(self._process.returncode, stdout, stderr)


def files(folder: Path) -> dict[str, bytes]:
    """Return the contents of the files in a folder, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def read_state(output: Path) -> State:
    """Read what an OUTPUT holds, at whatever stage it is."""
    plan, manifest = _read(output / "plan.json"), _read(output / "manifest.json")
    return State(
        published=bool(plan and manifest and manifest["lineage"]["plan_digest"] == plan["digest"]),
        planned_once=bool(plan and manifest and manifest["planned_at"] == plan["planned_at"]),
        digest=plan["digest"] if plan else None,
        plan=files(output / "plan"),
        parts=files(output / "boxes"),
        listed=manifest["parts"] if manifest else [],
        status=manifest["status"] if manifest else None,
    )


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found
