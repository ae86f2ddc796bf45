"""Thousands of damaged files through the real job: each has its record, and no process of the job ends."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.jobs.helpers import Boxcar, records_of
from tests.support.faults.mutated import mutated

COUNT = int(os.environ.get("BOXCAR_MUTATED", "20000"))


@pytest.mark.slow
def test_mutated_files(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, data in enumerate(mutated(COUNT)):
        (photos / f"{number:05d}").write_bytes(data)
    boxcar("plan", photos, tmp_path / "run", "--model", artifact, "--extensions", "*", "--part-size", 1000)
    boxcar("work", tmp_path / "run", "--threads", 2)
    records = records_of(tmp_path / "run")
    assert [record.image for record in records] == [f"{photos}/{number:05d}" for number in range(COUNT)]
    counts = Counter(record.status for record in records)
    assert counts.keys() <= {"ok", "empty", "unreadable", "too_large"}
    assert min(counts["ok"], counts["unreadable"]) > COUNT // 10  # the files are neither sound nor noise
