"""An image that ends its decoder has a record, and costs no other image its own, wherever parts are made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.formats import Manifest
from tests.jobs.helpers import Boxcar, encoded, part_bytes, records_of
from tests.support.faults.planted import DEADLY, marked, plant

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten healthy images, and images whose faults are planted among them; `once` crashes its first decoder only."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number:02d}.png").write_bytes(encoded(number))
    for number, (place, kind) in enumerate(DEADLY):
        (folder / f"{number:02d}-{kind}.jpg").write_bytes(marked(encoded(number, format="JPEG"), place, kind))
    (folder / "05-once.jpg").write_bytes(marked(encoded(20, format="JPEG"), "pixels", "once-crash"))
    return folder


def _environment(*folders: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (*folders, ROOT)))}


def _boxcar(hook: Path, *arguments: object, code: int = 0) -> str:
    command = [sys.executable, "-m", "jobs", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(hook))
    assert done.returncode == code, done.stderr
    return done.stderr


def _require_only_the_deadly_failed(output: Path, whole: Path) -> None:
    """Each record of an image that ends its decoder says so; every other byte is that of the run without faults."""
    for data, healthy in zip(part_bytes(output).values(), part_bytes(whole).values(), strict=True):
        for line, expected in zip(data.splitlines(), healthy.splitlines(), strict=True):
            record = json.loads(line)
            if any(record["image"].endswith(f"-{kind}.jpg") for _, kind in DEADLY):
                assert record["status"] == "unreadable", record
            else:
                assert line == expected
    assert [record.status for record in records_of(output)].count("unreadable") == len(DEADLY)


def test_an_image_that_ends_its_decoder(boxcar: Boxcar, artifact: Path, photos: Path, tmp_path: Path) -> None:
    whole, hook = tmp_path / "whole", plant(tmp_path / "hook")
    planned, allowed = ("--model", artifact, "--part-size", 5), ("--max-failed", 0.5)
    boxcar("run", photos, whole, *planned)
    assert {record.status for record in records_of(whole)} == {"ok"}

    said = _boxcar(hook, "run", photos, tmp_path / "threads", *planned, *allowed, "--threads", 2)
    for reason in (
        "crashes (Segmentation fault)",
        "crashes (Aborted)",
        "hangs",
        "more CPU time",
        "more memory",
        "no sensible",
    ):
        assert sum(reason in line for line in said.splitlines()) == 1, said  # once, also where two images crash alike
    _boxcar(hook, "run", photos, tmp_path / "processes", *planned, *allowed, "--threads", 2, "--processes", 2)
    boxcar("plan", photos, tmp_path / "shards", *planned)
    for shard in (1, 0):
        _boxcar(hook, "work", tmp_path / "shards", "--shard", shard, "--shards", 2, "--threads", 2)
    boxcar("finish", tmp_path / "shards", *allowed)
    for name in ("threads", "processes", "shards"):
        _require_only_the_deadly_failed(tmp_path / name, whole)
        assert Manifest.model_validate_json((tmp_path / name / "manifest.json").read_bytes()).status == "valid"


def test_an_image_that_ends_its_decoder_on_ray(boxcar: Boxcar, artifact: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs the extra `ray`")
    options = ("--model", artifact, "--part-size", 9, "--max-failed", 0.5)
    boxcar("run", photos, tmp_path / "whole", *options)
    _boxcar(plant(tmp_path / "hook"), "run", photos, tmp_path / "run", *options, "--engine", "ray")
    _require_only_the_deadly_failed(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("processes", [1, 2])
def test_the_system_ends_a_decoder(boxcar: Boxcar, artifact: Path, tmp_path: Path, processes: int) -> None:
    """For want of memory, for example: no image is to blame, so no record is written for it."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(8):
        (photos / f"{number}.jpg").write_bytes(marked(encoded(number, format="JPEG"), "pixels", "kill" * (number == 5)))
    options = ("--model", artifact, "--part-size", 2)
    boxcar("run", photos, tmp_path / "whole", *options)
    output = tmp_path / "run"
    said = _boxcar(
        plant(tmp_path / "hook"), "run", photos, output, *options, "--threads", 2, "--processes", processes, code=5
    )
    assert f"{photos}/5.jpg: the process that decoded it was ended from outside: Killed" in said
    assert len([line for line in said.splitlines() if line.startswith("error: ")]) == 1
    assert "part-0000002.jsonl" not in part_bytes(output)
    boxcar("run", photos, output, *options)
    assert part_bytes(output) == part_bytes(tmp_path / "whole")


def _processes_that_decode(folder: Path) -> set[int]:
    """The processes on this machine that have the hook in `folder`."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if (
                str(folder).encode() in path.read_bytes()
                and b"decoding.server" in (path.parent / "cmdline").read_bytes()
            ):
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    ("number", "code", "processes"),
    [(signal.SIGTERM, 143, 1), (signal.SIGINT, 130, 1), (signal.SIGKILL, -9, 1), (signal.SIGKILL, -9, 2)],
)
def test_children_end_with_the_job(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, number: int, code: int, processes: int
) -> None:
    """Also those that hang at that moment, and however the job ends."""
    photos, hook = tmp_path / "photos", plant(tmp_path / "hook")
    photos.mkdir()
    for index in range(4):
        (photos / f"{index}.jpg").write_bytes(marked(encoded(index, format="JPEG"), "pixels", "hang"))
    hook_text = (hook / "sitecustomize.py").read_text().replace("A_CPU_SECOND = 0.3, 10.0", "A_CPU_SECOND = 0.3, 1e6")
    (hook / "sitecustomize.py").write_text(hook_text)
    boxcar("plan", photos, tmp_path / "run", "--model", artifact, "--part-size", 2)
    command = [sys.executable, "-m", "jobs", "work", str(tmp_path / "run"), "--threads", "2"]
    process = subprocess.Popen(
        [*command, "--processes", str(processes)],
        env=_environment(hook),
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background lets its children ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while len(_processes_that_decode(hook)) < 2 + processes and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(_processes_that_decode(hook)) == 2 + processes  # a server for each process, and two children in all
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code, said
    while (left := _processes_that_decode(hook)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
