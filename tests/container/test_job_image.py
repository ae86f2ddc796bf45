"""The target `job` as it runs: not root, nothing writable but what is mounted, no network unless a test gives it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.runtime.shipped import SHIPPED
from jobs.formats import Manifest
from tests.conftest import Bucket
from tests.container.engine import ROOT, Container, Image
from tests.jobs.helpers import records_of, write_photos
from tests.support.faults.planted import marked, plant

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # the first test builds

Folder = Callable[[str], Path]
PYTHON = ("python", "-c")


def _published(done: subprocess.CompletedProcess[str], manifest: bytes) -> Manifest:
    """The manifest of a run that ended well and compiled nothing."""
    assert done.returncode == 0, done.stderr
    assert "compiling" not in done.stderr
    found = Manifest.model_validate_json(manifest)
    assert found.status == "valid" and set(found.statuses.items()) >= {("ok", found.images)}
    return found


def test_alone_it_shows_its_help(job: Image) -> None:
    done = job.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: boxcar")


def test_it_holds_the_locked_versions_and_nothing_else(job: Image) -> None:
    code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    installed = {
        re.sub(r"[-_.]+", "-", name).lower(): version
        for name, version in json.loads(job.run(code, entrypoint=PYTHON).stdout).items()
    }
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = {(name, version) for name, _, version in (line.split(" ;")[0].partition("==") for line in lines)}
    assert installed.pop("boxcar")
    assert set(installed.items()) <= locked
    assert {"onnxruntime", "great-expectations", "boto3", "pyarrow"} <= set(installed)
    assert not {"torch", "torchvision", "timm", "dvc", "ray"} & set(installed)
    assert "No module named 'torch'" in job.run("import torch", entrypoint=PYTHON).stderr


def test_it_is_not_root_and_writes_where_something_is_mounted_alone(job: Image, shared: Folder) -> None:
    code = """
import json, os, pathlib, sys, tempfile
def writable(folder):
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
places = ["/", "/data", "/opt/boxcar", "/var/tmp", pathlib.Path.home(), "/tmp"]
print(json.dumps([os.getuid(), os.getgid(), [str(place) for place in places if writable(place)]]))
"""
    done = job.run(code, entrypoint=PYTHON, mounts={"/tmp": shared("tmp")})
    assert json.loads(done.stdout) == [10001, 10001, ["/tmp"]]
    assert json.loads(job.run(code, entrypoint=PYTHON).stdout) == [10001, 10001, []]
    # Docker gives every volume of an image the permissions of its folder there.
    loose = job.run(code, entrypoint=PYTHON, writable_root=True)
    assert json.loads(loose.stdout)[2] == ["/var/tmp", "/home/boxcar", "/tmp"]


def test_there_is_no_compiler_unless_it_is_asked_for(job: Image) -> None:
    done = job.run("-c", "import numba", entrypoint=("python",))
    assert done.returncode == 1 and "No module named 'numba'" in done.stderr


def test_a_folder_of_photographs_is_published(job: Image, photos: Path, shared: Folder) -> None:
    mounts = {"/data": photos, "/tmp": shared("tmp")}
    done = job.run("run", "photos", "boxes", mounts=mounts)
    manifest = _published(done, (photos / "boxes/manifest.json").read_bytes())
    assert manifest.images == 3 and manifest.boxes["cat"] == 1
    assert {box.label for record in records_of(photos / "boxes") for box in record.boxes} >= {"cat", "person"}
    assert (photos / "boxes").stat().st_uid == 10001
    assert not list((photos.parent / "tmp").iterdir())


def test_an_image_that_ends_its_decoder_has_its_record(job: Image, photos: Path, shared: Folder) -> None:
    """Nothing is writable, there is no network, and no process may get a capability: children need none of it."""
    whole = job.run("run", "photos", "whole", mounts={"/data": photos, "/tmp": shared("tmp")})
    assert whole.returncode == 0, whole.stderr
    coffee = photos / "photos/coffee.jpg"
    coffee.write_bytes(marked(coffee.read_bytes(), "pixels", "crash"))
    mounts = {"/data": photos, "/tmp": photos.parent / "tmp", "/mnt": plant(photos.parent / "hook")}
    done = job.run("run", "photos", "boxes", "--max-failed", "0.5", mounts=mounts, environment={"PYTHONPATH": "/mnt"})
    assert done.returncode == 0, done.stderr
    assert "coffee.jpg: its decoder crashes (Segmentation fault)" in done.stderr
    records, others = records_of(photos / "boxes"), records_of(photos / "whole")
    assert [record.status for record in records] == ["ok", "ok", "unreadable"]
    assert [record.boxes for record in records[:2]] == [record.boxes for record in others[:2]]


def test_whoever_owns_the_mounted_folder_may_run_it(job: Image, photos: Path, shared: Folder) -> None:
    mounts = {"/data": photos, "/tmp": shared("tmp")}
    done = job.run("run", "photos", "boxes", mounts=mounts, user=(4321, 4321))
    _published(done, (photos / "boxes/manifest.json").read_bytes())
    assert (photos / "boxes/manifest.json").stat().st_uid == 4321


def test_a_bucket_needs_no_mount_but_tmp_and_the_artifact_comes_from_it(
    job: Image, photos: Path, shared: Folder, bucket: Bucket
) -> None:
    bucket.upload(photos / "photos", "photos")
    bucket.upload(SHIPPED, "model")
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    mounts = {"/tmp": shared("tmp")}

    def boxcar(*words: str) -> subprocess.CompletedProcess[str]:
        return job.run(*words, mounts=mounts, environment=aws, network=True)

    planned = boxcar("plan", f"{bucket.uri}/photos/", f"{bucket.uri}/boxes/", "--model", f"{bucket.uri}/model/")
    assert planned.returncode == 0, planned.stderr
    for number in range(2):
        worked = boxcar("work", f"{bucket.uri}/boxes/", "--shard", str(number), "--shards", "2")
        assert worked.returncode == 0, worked.stderr
    done = boxcar("finish", f"{bucket.uri}/boxes/")
    assert _published(done, (bucket.folder / "boxes/manifest.json").read_bytes()).images == 3

    network = bytearray((SHIPPED / "model.onnx").read_bytes())
    network[-1] ^= 1
    bucket.put("model/model.onnx", bytes(network))
    refused = boxcar("plan", f"{bucket.uri}/photos/", f"{bucket.uri}/other/", "--model", f"{bucket.uri}/model/")
    assert refused.returncode == 6 and "sha256" in refused.stderr.lower()


def test_a_stop_reaches_it_as_the_first_process_and_it_resumes(job: Image, shared: Folder) -> None:
    data = shared("data")
    write_photos(data / "photos", 150)
    options = ("run", "photos", "boxes", "--part-size", "10", "--min-score", "0.9")
    mounts = {"/data": data, "/tmp": shared("tmp")}
    started = job.start(Container(options, mounts=mounts))
    while started.process.poll() is None and not (data / "boxes/boxes/part-0000000.jsonl").exists():
        time.sleep(0.05)
    started.signal("TERM")
    stopped = started.finish()
    assert (stopped.returncode, stopped.stderr.splitlines()[-1]) == (
        143,
        "stopped by SIGTERM; run the same command again to resume",
    )
    parts = list((data / "boxes/boxes").iterdir())
    assert 0 < len(parts) < 15
    before = {part: part.stat().st_mtime_ns for part in parts}
    done = job.run(*options, mounts=mounts)
    assert _published(done, (data / "boxes/manifest.json").read_bytes()).images == 150
    assert {part: part.stat().st_mtime_ns for part in parts} == before


def test_without_any_writable_folder_it_says_what_is_needed(job: Image, photos: Path) -> None:
    done = job.run(
        "run", "/data/photos", "/data/boxes", entrypoint=("env", "-C", "/", "boxcar"), mounts={"/data": photos}
    )
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith("error: ") and "TMPDIR" in done.stderr


def test_another_folder_may_take_the_place_of_tmp(job: Image, photos: Path, shared: Folder) -> None:
    mounts = {"/data": photos, "/mnt": shared("scratch")}
    done = job.run("run", "photos", "boxes", mounts=mounts, environment={"TMPDIR": "/mnt"})
    _published(done, (photos / "boxes/manifest.json").read_bytes())
