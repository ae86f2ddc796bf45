"""Standard streams that nobody reads, that are closed, or that do not fit on the disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs.helpers import part_bytes, write_photos

BOXCAR = f"{sys.executable} -m jobs"


def _shell(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120)


@pytest.fixture
def run(artifact: Path, tmp_path: Path) -> str:
    """A command that publishes forty images in parts of two."""
    photos = write_photos(tmp_path / "photos", 40)
    return f"{BOXCAR} run {photos} {tmp_path / 'run'} --model {artifact} --part-size 2"


@pytest.mark.slow
def test_a_reader_that_leaves(run: str, tmp_path: Path) -> None:
    """It ends as other tools do, its parts stay, and the next command goes on with them."""
    ended = _shell(f"{run} 2>&1 | head -1; echo ${{PIPESTATUS[0]}}")
    assert ended.stdout.splitlines()[-1] == "141" and ended.stderr == ""
    kept = part_bytes(tmp_path / "run")
    assert 0 < len(kept) < 20 and not (tmp_path / "run/manifest.json").exists()
    resumed = _shell(run)
    assert resumed.returncode == 0 and kept.items() <= part_bytes(tmp_path / "run").items()


@pytest.mark.slow
def test_a_full_disk_behind_the_streams(run: str, tmp_path: Path) -> None:
    ended = _shell(f"{run} > /dev/full")
    assert ended.returncode == 141
    assert ended.stderr.splitlines()[-1].startswith("error: standard output cannot be written: No space left on device")
    assert "Traceback" not in ended.stderr
    ended = _shell(f"{run} 2> /dev/full")
    assert (ended.returncode, ended.stdout) == (141, "")
    assert len(part_bytes(tmp_path / "run")) > 0


@pytest.mark.slow
def test_streams_that_were_closed(run: str, tmp_path: Path) -> None:
    """Nobody wants to read anything: the run is made, and no file of it gets what was printed."""
    ended = _shell(f"{run} <&- >&- 2>&-")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert len(part_bytes(tmp_path / "run")) == 20
    assert _shell(f"{BOXCAR} validate {tmp_path / 'run'}").returncode == 0


@pytest.mark.parametrize(("command", "code"), [("--help", 141), ("run", 2), ("no-such-command", 2)])
def test_help_and_usage_errors(command: str, code: int) -> None:
    ended = _shell(f"{BOXCAR} {command} > /dev/full")
    assert ended.returncode == code and "Traceback" not in ended.stderr
