"""The commands of docs/reliability.md in a small form, in this process, which has forked `boxcar` for other tests."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click import Command
from click.testing import CliRunner

from benchmarks import faults, many_kills

# What is added to each documented command.
SMALL = {
    "python -m benchmarks.faults": "--photos 30 --only version",
    "python -m benchmarks.faults --kills 5 --only SIGKILL": "--photos 30 --kills 3",
    "python -m benchmarks.many_kills": "--images 60 --kills 4 --part-size 12",
}
COMMANDS: dict[str, Command] = {"benchmarks.faults": faults.main, "benchmarks.many_kills": many_kills.main}


@pytest.mark.slow
@pytest.mark.parametrize("command", SMALL)
def test_a_documented_command_runs(command: str, artifact: Path) -> None:
    _, _, module, *arguments = shlex.split(f"{command} {SMALL[command]} --quick")
    if module == "benchmarks.faults":
        arguments += ["--artifact", str(artifact)]
    done = CliRunner().invoke(COMMANDS[module], arguments)
    assert done.exit_code == 0, done.output
    table = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(table) > 2 and "broken" not in done.stdout
