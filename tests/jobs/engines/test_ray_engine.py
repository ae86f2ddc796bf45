"""A real Ray cluster on this machine; faults/test_nodes.py lets nodes of one go away."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.helpers import Boxcar, part_bytes, write_photos

pytestmark = pytest.mark.slow

pytest.importorskip("ray", reason="needs the extra `ray`")


@pytest.fixture
def cluster() -> Iterator[Any]:
    """One node of one core, the head."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20},
    )
    try:
        yield cluster
    finally:
        cluster.shutdown()


def _wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_sigterm(boxcar: Boxcar, cluster: Any, artifact: Path, tmp_path: Path) -> None:
    """Ray's own handler would end with exit 15 and a dump of the stack."""
    photos, output = write_photos(tmp_path / "photos", 300), tmp_path / "run"
    options = ("--model", artifact, "--part-size", 10)
    command = [sys.executable, "-m", "jobs", "run", str(photos), str(output), *map(str, options)]
    command += ["--engine", "ray", "--address", cluster.address]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _wait_until(lambda: (output / "boxes").is_dir(), process)
    process.terminate()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    assert stderr.splitlines()[-1] == "stopped by SIGTERM; run the same command again to resume"
    boxcar("run", photos, output, *options)
    boxcar("run", photos, tmp_path / "whole", *options)
    assert part_bytes(output) == part_bytes(tmp_path / "whole")


def test_no_cluster(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    options = ("--model", artifact, "--engine", "ray")
    photos = write_photos(tmp_path / "photos", 1)
    result = boxcar("run", photos, tmp_path / "o", *options, "--address", "127.0.0.1:9", code=2)
    assert "no Ray cluster answers" in result.stderr
    assert "--engine ray" in boxcar("run", tmp_path, tmp_path / "o", "--address", "127.0.0.1:9", code=2).stderr
    assert "every core" in boxcar("run", tmp_path, tmp_path / "o", *options, "--threads", 2, code=2).stderr
