"""Parts are the same bytes whoever makes them, memory stays bounded, and a stop loses nothing."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from PIL import Image

from detector.common.cores import cores
from detector.runtime.detector import Batch
from detector.runtime.kinds import GraphDetector
from jobs import worker
from jobs.budget import Budget
from jobs.errors import ItemError
from jobs.storage import Content, Entry, FolderStore
from tests.jobs.helpers import Boxcar, part_bytes, records_of, write_photos

pytestmark = pytest.mark.slow


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
    boxcar("work", many, "--threads", 5)
    for shard in (2, 0, 3, 1):
        boxcar("work", sharded, "--shard", shard, "--shards", 4, "--threads", 2)
    assert len(part_bytes(one)) == 6
    assert part_bytes(one) == part_bytes(many) == part_bytes(sharded)


def test_processes_give_the_same_bytes(boxcar: Boxcar, planned: Path) -> None:
    one, several = _copy(planned, "one"), _copy(planned, "several")
    boxcar("work", one)
    boxcar("work", several, "--threads", 4, "--processes", 2)
    assert part_bytes(one) == part_bytes(several)
    assert "17 of 17" in boxcar("status", several).stdout


def test_errors_of_a_process_are_those_of_the_command(boxcar: Boxcar, planned: Path) -> None:
    (planned / "plan").rename(planned / "elsewhere")
    (planned / "boxes").write_text("in the way")
    boxcar("work", planned, "--processes", 2, code=2)
    (planned / "elsewhere").rename(planned / "plan")
    assert "cannot be written" in boxcar("work", planned, "--processes", 2, code=5).stderr


def test_a_process_that_dies(boxcar: Boxcar, planned: Path) -> None:
    """The kernel ends what takes too much memory: the command says so, and the next one goes on."""
    script = """
import os, signal, sys
from detector.runtime.kinds import GraphDetector
def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)
GraphDetector.detect = die
if __name__ == "__main__":
    from jobs.cli import main
    main(sys.argv[1:])
"""
    path = planned.parent / "dies.py"
    path.write_text(script)
    command = [sys.executable, str(path), "work", str(planned), "--processes", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()})
    assert ended.returncode == 4, ended.stderr
    assert "a worker process ended unexpectedly" in ended.stderr
    boxcar("work", planned, "--processes", 2)
    boxcar("finish", planned)


def test_processes_end_with_their_parent(boxcar: Boxcar, planned: Path) -> None:
    """kill -9 of the command leaves nothing behind that goes on writing."""
    script = """
import os, sys, time
from detector.runtime.kinds import GraphDetector
def wait(*arguments, **options):
    with open(os.environ["PIDS"], "a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(60)
GraphDetector.detect = wait
if __name__ == "__main__":
    from jobs.cli import main
    main(sys.argv[1:])
"""
    path, pids = planned.parent / "waits.py", planned.parent / "pids"
    path.write_text(script.replace("\\\\n", "\\n"))
    pids.touch()
    command = [sys.executable, str(path), "work", str(planned), "--processes", "2"]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.getcwd(), "PIDS": str(pids)})
    deadline = time.monotonic() + 60
    while len(set(pids.read_text().split())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = {int(line) for line in pids.read_text().split()}
    process.kill()
    process.wait(10)
    assert len(workers) == 2
    while workers and time.monotonic() < deadline:
        workers = {pid for pid in workers if Path(f"/proc/{pid}").exists()}
    assert not workers


def test_two_workers_at_once(boxcar: Boxcar, planned: Path) -> None:
    """Both make the same parts; whoever writes last writes the same bytes."""
    alone, shared = _copy(planned, "alone"), _copy(planned, "shared")
    boxcar("work", alone)
    command = [sys.executable, "-m", "jobs", "work", str(shared), "--threads", "1"]
    workers = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in workers] == [0, 0]
    assert part_bytes(alone) == part_bytes(shared)
    boxcar("finish", shared)


def test_a_clock_that_is_set_after_the_start_counts_from_the_next_part_on(
    boxcar: Boxcar, planned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine began an hour behind."""
    asked = itertools.count()

    class Set(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) - timedelta(hours=0 if next(asked) else 1)

    monkeypatch.setattr(worker, "datetime", Set)
    before = datetime.now(UTC) - timedelta(milliseconds=1)  # written times have three decimals
    boxcar("work", planned)
    stats = [json.loads(path.read_bytes()) for path in sorted((planned / "stats").iterdir())]
    spans = [[datetime.fromisoformat(one[end]) for end in ("started_at", "finished_at")] for one in stats]
    assert all(began <= ended for began, ended in spans)
    assert sum(ended < before for _, ended in spans) == sum(began < before for began, _ in spans) == 1


def test_array_index_of_aws_batch(boxcar: Boxcar, planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BATCH_JOB_ARRAY_INDEX", "1")
    assert "belong together" in boxcar("work", planned, code=2).stderr
    monkeypatch.setenv("AWS_BATCH_JOB_ARRAY_SIZE", "4")
    boxcar("work", planned)
    assert list(part_bytes(planned)) == ["part-0000001.jsonl", "part-0000005.jsonl"]
    assert "numbered from 0 to 3" in boxcar("work", planned, "--shard", 4, code=2).stderr


def test_index_of_a_kubernetes_job_needs_the_number_of_shards(
    boxcar: Boxcar, planned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "0")  # the first index is one too
    refused = boxcar("work", planned, code=2).stderr
    assert "no --shards for shard 0" in refused and "BOXCAR_SHARDS" in refused
    assert not part_bytes(planned)
    monkeypatch.setenv("BOXCAR_SHARDS", "4")
    boxcar("work", planned)
    assert list(part_bytes(planned)) == ["part-0000000.jsonl", "part-0000004.jsonl"]
    boxcar("work", planned, "--shards", 6, "--shard", 5)
    assert list(part_bytes(planned)) == ["part-0000000.jsonl", "part-0000004.jsonl", "part-0000005.jsonl"]
    monkeypatch.delenv("JOB_COMPLETION_INDEX")
    assert "no --shard for 4 shards" in boxcar("work", planned, code=2).stderr


def test_index_of_a_cloud_run_task(boxcar: Boxcar, planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_RUN_TASK_INDEX", "2")
    monkeypatch.setenv("CLOUD_RUN_TASK_COUNT", "4")
    monkeypatch.setenv("BOXCAR_SHARDS", "3")  # belongs to no task of Cloud Run, which states its own number
    boxcar("work", planned)
    assert list(part_bytes(planned)) == ["part-0000002.jsonl"]


def test_a_bound_on_what_is_fetched_ahead(boxcar: Boxcar, planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a slow network, no more encoded images wait in memory than the bounds allow."""
    lock = threading.Lock()
    fetched = predicted = most = 0
    predict, fetch = GraphDetector.detect, FolderStore.fetch

    def slow_predict(self: GraphDetector, *arguments: object, **options: object) -> Batch:
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
    monkeypatch.setattr(GraphDetector, "detect", slow_predict)
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
    predict = GraphDetector.detect

    def wait_for_all(self: GraphDetector, *arguments: object, **options: object) -> Batch:
        together.wait(timeout=10)
        return predict(self, *arguments, **options)  # type: ignore[arg-type]

    output = planned.parent / "many"
    boxcar("plan", write_photos(planned.parent / "forty", 40), output, "--model", planned / "model")
    monkeypatch.setattr(GraphDetector, "detect", wait_for_all)
    boxcar("work", output, "--threads", 40)


def test_one_part_flows_into_the_next(boxcar: Boxcar, planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one image a part, six threads still have six images at once."""
    together = threading.Barrier(6)
    predict = GraphDetector.detect

    def wait_for_all(self: GraphDetector, *arguments: object, **options: object) -> Batch:
        together.wait(timeout=10)
        return predict(self, *arguments, **options)  # type: ignore[arg-type]

    output = planned.parent / "small"
    photos = write_photos(planned.parent / "twelve", 12)
    boxcar("plan", photos, output, "--model", planned / "model", "--part-size", 1)
    monkeypatch.setattr(GraphDetector, "detect", wait_for_all)
    boxcar("work", output, "--threads", 6)
    assert len(part_bytes(output)) == 12


def test_large_pictures_are_decoded_alone(boxcar: Boxcar, planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads never hold more pixels than the largest single image may have."""
    lock = threading.Lock()
    held = most = 0
    predict = GraphDetector.detect

    def watched(self: GraphDetector, pixels: Any, **options: Any) -> Batch:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        time.sleep(0.02)
        result = predict(self, pixels, **options)
        with lock:
            held -= 1
        return result

    monkeypatch.setattr(GraphDetector, "detect", watched)
    roomy, tight = _copy(planned, "roomy"), _copy(planned, "tight")
    boxcar("work", roomy, "--threads", 4)
    assert most > 1
    most = 0
    monkeypatch.setattr(worker, "MAX_PIXELS", 45 * 40)  # about one of these images
    boxcar("work", tight, "--threads", 4)
    assert most == 1
    assert part_bytes(roomy) == part_bytes(tight)


def test_a_budget_gives_a_giant_all_and_keeps_its_bound() -> None:
    budget = Budget(10)
    lock = threading.Lock()
    held = most = 0

    def take(units: int) -> None:
        nonlocal held, most
        with budget.hold(units):
            with lock:
                held += min(units, 10)
                most = max(most, held)
            time.sleep(0.001)
            with lock:
                held -= min(units, 10)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, [3, 4, 25, 1, 10, 2, 6, 5, 9, 100, 1, 1] * 5))
    assert 3 < most <= 10 and held == 0


@pytest.mark.parametrize(
    ("allowed", "since", "part_size"), [(0, False, 12), (5, False, 17), (0, False, 3), (0, True, 40)]
)
def test_nothing_may_be_read_any_more(
    boxcar: Boxcar, planned: Path, monkeypatch: pytest.MonkeyPatch, allowed: int, since: bool, part_size: int
) -> None:
    """A role that loses s3:GetObject must not fill a run with `forbidden` records, also when most records are copied:
    the part is not written, and a corrected role resumes."""
    fetch, fetched = FolderStore.fetch, 0

    def denied(self: FolderStore, entry: Entry) -> Content:
        nonlocal fetched
        fetched += 1
        if fetched > allowed:
            raise ItemError("forbidden")
        return fetch(self, entry)

    photos = planned.parent / "photos"
    options: list[object] = ["--model", planned / "model", "--part-size", part_size]
    if since:
        boxcar("run", photos, planned.parent / "previous", *options)
        write_photos(photos / "new", 12)
        options += ["--since", planned.parent / "previous"]
    output = planned.parent / "run"
    boxcar("plan", photos, output, *options)
    with monkeypatch.context() as patch:
        patch.setattr(worker, "FETCH_THREADS", 1)
        patch.setattr(FolderStore, "fetch", denied)
        assert "access denied to 10 images in a row" in boxcar("work", output, "--threads", 1, code=5).stderr
    boxcar("work", output)
    assert {record.status for record in records_of(output)} == {"ok", "unreadable"}


def test_private_pictures_among_others(boxcar: Boxcar, planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = FolderStore.fetch

    def denied(self: FolderStore, entry: Entry) -> Content:
        if "sub/" in entry.key:
            raise ItemError("forbidden")
        return fetch(self, entry)

    monkeypatch.setattr(FolderStore, "fetch", denied)
    boxcar("work", planned)
    assert sum(record.status == "forbidden" for record in records_of(planned)) == 6
    assert "6 of 6" in boxcar("status", planned).stdout  # those at the end were held back, and written


def test_a_network_that_fails_on_an_image(boxcar: Boxcar, planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no fault of the image's, so that no record may hide it: the run ends, and names the image."""
    run = onnxruntime.InferenceSession.run

    def fails(self: onnxruntime.InferenceSession, outputs: Any, inputs: Any, options: Any = None) -> Any:
        if inputs["image"].shape[2:] == (32, 64):
            raise RuntimeError("out of range")
        return run(self, outputs, inputs, options)

    photos = planned.parent / "photos"
    Image.new("RGB", (90, 40)).save(photos / "0002.png")
    output = planned.parent / "run"
    boxcar("plan", photos, output, "--model", planned / "model")
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", fails)
    result = boxcar("work", output, code=6)
    assert f"{photos}/0002.png: model.onnx: the network fails" in result.stderr and "out of range" in result.stderr


@pytest.mark.parametrize("again", [False, True])
def test_sigterm_while_a_request_hangs(boxcar: Boxcar, planned: Path, again: bool) -> None:
    """Also where the clean-up would wait for it: the command ends within seconds, or at a second SIGTERM."""
    script = """
import sys, time
from jobs import stopping
from jobs.storage import FolderStore
stopping.LONGEST_SECONDS = float(sys.argv.pop(1))
read = FolderStore.read
def hang(self, key):
    if key.startswith("stats/"):
        print("hangs", flush=True)
        time.sleep(60)
    return read(self, key)
FolderStore.read = hang
from jobs.cli import main
main(sys.argv[1:])
"""
    command = [sys.executable, "-c", script, "50" if again else "1", "status", str(planned)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.5)
    process.terminate()
    if again:
        time.sleep(0.5)
        process.terminate()
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (143, "stopped by SIGTERM; run the same command again to resume\n")


@pytest.mark.parametrize(("limit", "expected"), [("max 100000", 4), ("150000 100000", 2), ("1000 100000", 1), ("", 4)])
def test_a_containers_share_of_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3})
    (tmp_path / "cpu.max").write_text(limit)
    assert cores(tmp_path / "cpu.max") == expected
    assert cores(tmp_path / "none") == 4


# A worker whose network takes 20 ms an image, so that a signal finds it at work.
SLOW = """
import sys, time
from detector.runtime.kinds import GraphDetector
predict = GraphDetector.detect
def slow(self, *arguments, **options):
    time.sleep(0.02)
    return predict(self, *arguments, **options)
GraphDetector.detect = slow
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
