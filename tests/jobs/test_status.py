"""`boxcar status`: a run in flight, seen from anywhere."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.formats import PartStats
from jobs.status import RECENT, Status
from tests.jobs.helpers import Boxcar, write_photos

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def _part(start: float, end: float, images: int = 600, copied: int = 0) -> PartStats:
    """A part that was under way from `start` to `end` minutes before NOW."""
    return PartStats(
        run="r", part="part-0000000", sha256="", images=images, copied=copied, statuses={"ok": images}, boxes=0,
        bytes_read=0,
        started_at=(NOW - timedelta(minutes=start)).isoformat(), finished_at=(NOW - timedelta(minutes=end)).isoformat(),
        cpu_seconds=1.0, seconds=1.0, step_seconds={}, onnxruntime="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "rate"),
    [
        ([], None),
        ([_part(50, 40)], None),  # nothing lately: a run that stands still has no rate
        ([_part(10, 0)], 1.0),
        ([_part(15, 5)], 1.0),  # the next part is under way
        ([_part(80, 20)], 1 / 6),  # also when a part takes an hour
        ([_part(10, 0), _part(10, 0)], 2.0),  # two workers
        ([_part(20, 10), _part(10, 0)], 1.0),  # of the first part only what falls into the last minutes counts
        ([_part(30, 10), _part(10, 0)], (600 * 10 / 20 + 600) / 1200),
        ([_part(10, 0, copied=300)], 0.5),
    ],
)
def test_rate(parts: list[PartStats], rate: float | None) -> None:
    status = Status()
    for part in parts:
        status.add(part)
    assert timedelta(minutes=15) == RECENT
    assert status.rate(NOW) == (None if rate is None else pytest.approx(rate))


def test_in_flight(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos, output = write_photos(tmp_path / "photos", 8), tmp_path / "run"
    (photos / "0001.png").write_bytes(b"broken")
    boxcar("plan", photos, output, "--model", artifact, "--part-size", 2)
    assert "nothing was finished" in boxcar("status", output).stdout
    boxcar("work", output, "--shard", 0, "--shards", 2)
    lines = dict(line.split(maxsplit=1) for line in boxcar("status", output).stdout.splitlines())
    assert (lines["parts"], lines["images"]) == ("2 of 4", "4 of 8")
    assert lines["failed"] == "1 (1 unreadable)"
    assert lines["images/s"].endswith("left") and lines["CPU"].endswith("ms an image")
    assert lines["published"] == "no"
    boxcar("work", output)
    boxcar("finish", output, "--max-failed", 0.5)
    done = boxcar("status", output).stdout
    assert "all done" in done and "valid, 20" in done


def test_stats_tell_of_steps(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    boxcar("run", write_photos(tmp_path / "photos", 2), tmp_path / "run", "--model", artifact)
    stats = json.loads((tmp_path / "run/stats/part-0000000.json").read_bytes())
    assert set(stats["step_seconds"]) == {"fetch", "decode", "preprocess", "network", "postprocess"}
    assert stats["started_at"] <= stats["finished_at"]
