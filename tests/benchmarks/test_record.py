"""Records of trainings: what a checkpoint gives, and files of others."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import torch

from benchmarks.record import Point, draw, points, read, write

RECORD = [Point(1, 2.0, 0.1, 0.2), Point(2, 3.5, 0.15, 0.3)]


def test_minutes_are_those_of_the_device_of_each_epoch(tmp_path: Path) -> None:
    reports = [
        {"epoch": 1, "seconds": 600.0, "cpu_seconds": 120.0, "device": "cpu", "validation": {"ap": 0.1, "ap_50": 0.2}},
        {"epoch": 2, "seconds": 90.0, "cpu_seconds": 700.0, "device": "cuda", "validation": {"ap": 0.15, "ap_50": 0.3}},
    ]
    torch.save({"reports": reports}, tmp_path / "state.pt")
    assert points(tmp_path) == RECORD


def test_a_record_is_read_as_it_was_written_and_drawn(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", RECORD)
    assert read(tmp_path / "a.csv") == RECORD
    draw({"this training": RECORD, "another": RECORD[:1]}, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("content", ["", "epoch,minutes,ap,ap_50\n", "a,b\n1,2\n", "epoch,minutes,ap,ap_50\n1,x,2,3\n"])
def test_what_is_no_record_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.csv").write_text(content)
    with pytest.raises(click.ClickException, match=r"bad\.csv: is (no|an empty) record"):
        read(tmp_path / "bad.csv")
