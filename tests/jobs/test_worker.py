"""Parts are the same bytes whoever makes them, memory stays bounded, and a stop loses nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jobs import worker
from jobs.storage import Content, Entry, FolderStore
from tests.jobs.helpers import Boxcar, part_bytes, records_of, write_photos


@pytest.fixture
def planned(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> Path:
    """A plan of 17 images in 6 parts; one image is broken."""
    photos = write_photos(tmp_path / "photos", 17)
    (photos / "0004.png").write_bytes(b"broken")
    boxcar("plan", photos, tmp_path / "planned", "--model", artifact, "--part-size", 3)
    return tmp_path / "planned"


def _copy(planned: Path, name: str) -> Path:
    return Path(shutil.copytree(planned, planned.parent / name))


def test_threads_and_shards_give_the_same_bytes(boxcar: Boxcar, planned: Path) -> None:
    one, many, sharded = (_copy(planned, name) for name in ("one", "many", "sharded"))
    boxcar("work", one, "--threads", 1)
    boxcar("work", many, "--threads", 7)
    for shard in (2, 0, 3, 1):
        boxcar("work", sharded, "--shard", shard, "--shards", 4, "--threads", 2)
    assert len(part_bytes(one)) == 6
    assert part_bytes(one) == part_bytes(many) == part_bytes(sharded)


def test_two_workers_at_once(boxcar: Boxcar, planned: Path) -> None:
    """Both make the same parts; whoever writes last writes the same bytes."""
    alone, shared = _copy(planned, "alone"), _copy(planned, "shared")
    boxcar("work", alone)
    command = [sys.executable, "-m", "jobs", "work", str(shared), "--threads", "1"]
    workers = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in workers] == [0, 0]
    assert part_bytes(alone) == part_bytes(shared)
    boxcar("finish", shared)


def test_array_index_of_aws_batch(boxcar: Boxcar, planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BATCH_JOB_ARRAY_INDEX", "1")
    assert "belong together" in boxcar("work", planned, code=2).stderr
    monkeypatch.setenv("AWS_BATCH_JOB_ARRAY_SIZE", "4")
    boxcar("work", planned)
    assert list(part_bytes(planned)) == ["part-0000001.jsonl", "part-0000005.jsonl"]
    assert "numbered from 0 to 3" in boxcar("work", planned, "--shard", 4, code=2).stderr


def test_a_bound_on_what_is_fetched_ahead(boxcar: Boxcar, planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a slow network, no more encoded images wait in memory than the bounds allow."""
    lock = threading.Lock()
    fetched = predicted = most = 0
    predict, fetch = worker.Predictor.predict, FolderStore.fetch

    def slow_predict(self: worker.Predictor, *arguments: object, **options: object) -> worker.Detections:
        nonlocal predicted
        time.sleep(0.02)
        with lock:
            predicted += 1
        return predict(self, *arguments, **options)  # type: ignore[arg-type]

    def counted_fetch(self: FolderStore, entry: Entry) -> Content:
        nonlocal fetched, most
        with lock:
            fetched += 1
            most = max(most, fetched - predicted)
        return fetch(self, entry)

    photos = write_photos(planned.parent / "others", 20)
    output = planned.parent / "bounded"
    boxcar("plan", photos, output, "--model", planned / "model")
    monkeypatch.setattr(worker.Predictor, "predict", slow_predict)
    monkeypatch.setattr(FolderStore, "fetch", counted_fetch)
    monkeypatch.setattr(worker, "FETCH_THREADS", 1)
    boxcar("work", output, "--threads", 2)
    assert 2 < most <= 2 * 2 + 1  # ahead of the two compute threads, and not further

    (output / "boxes/part-0000000.jsonl").unlink()
    fetched = predicted = most = 0
    monkeypatch.setattr(worker, "AHEAD_BYTES", 1)  # every image is larger: each is fetched alone
    boxcar("work", output, "--threads", 2)
    assert (fetched, most) == (20, 1)


def test_many_threads_all_have_work(boxcar: Boxcar, planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on images in flight grows with the threads: forty of them predict at once."""
    together = threading.Barrier(40)
    predict = worker.Predictor.predict

    def wait_for_all(self: worker.Predictor, *arguments: object, **options: object) -> worker.Detections:
        together.wait(timeout=10)
        return predict(self, *arguments, **options)  # type: ignore[arg-type]

    output = planned.parent / "many"
    boxcar("plan", write_photos(planned.parent / "forty", 40), output, "--model", planned / "model")
    monkeypatch.setattr(worker.Predictor, "predict", wait_for_all)
    boxcar("work", output, "--threads", 40)


# A worker whose network takes 20 ms an image, so that a signal finds it at work.
SLOW = """
import sys, time
from detector.predictor import Predictor
predict = Predictor.predict
def slow(self, *arguments, **options):
    time.sleep(0.02)
    return predict(self, *arguments, **options)
Predictor.predict = slow
from jobs.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_stopped_and_resumed(boxcar: Boxcar, artifact: Path, tmp_path: Path, number: int, code: int) -> None:
    """Whatever stops a worker: no half part, and the resumed run ends with the undisturbed run's bytes."""
    photos = write_photos(tmp_path / "photos", 200)
    options = ("--model", artifact, "--part-size", 10)
    boxcar("run", photos, tmp_path / "whole", *options)
    output = tmp_path / "run"
    boxcar("plan", photos, output, *options)

    command = [sys.executable, "-c", SLOW, "work", str(output), "--threads", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for _ in range(3):
        process.stderr.readline()  # one line a part
    os.kill(process.pid, number)
    _, rest = process.communicate(timeout=30)
    assert process.returncode == code
    assert ("run the same command again" in rest) == (number == signal.SIGTERM)

    done = part_bytes(output)
    assert 3 <= len(done) < 20
    assert all(data.count(b"\n") == 10 for data in done.values())
    if number == signal.SIGTERM:
        assert not list(output.rglob(".*.tmp"))
    counted = len(list((output / "stats").glob("*.json")))  # a kill between the two writes leaves a part uncounted
    assert f"parts      {counted} of 20" in boxcar("status", output).stdout.splitlines()
    boxcar("finish", output, code=4)
    boxcar("run", photos, output, *options)
    assert part_bytes(output) == part_bytes(tmp_path / "whole")
    assert len(records_of(output)) == 200
