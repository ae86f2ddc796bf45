"""Runs that look at tiles: what plan, records and manifest say, and what is not compared with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detector.runtime.detector import open_detector, read_for
from detector.runtime.tiling import Tiling
from jobs.formats import Manifest, Plan
from tests.jobs.helpers import Boxcar, encoded, part_bytes, records_of


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """One image that is not larger than a tile of 100 pixels, and two that are; one of them is a JPEG."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "large.jpg").write_bytes(encoded(1, 320, 210, "JPEG"))
    (folder / "small.jpg").write_bytes(encoded(2, 100, 90, "JPEG"))
    (folder / "tall.png").write_bytes(encoded(3, 40, 150))
    return folder


@pytest.mark.slow
def test_a_run_with_tiles(boxcar: Boxcar, artifact: Path, photos: Path, tmp_path: Path) -> None:
    options = ("--model", artifact, "--min-score", 0.1)
    boxcar("plan", photos, tmp_path / "none", *options)
    boxcar("work", tmp_path / "none")
    boxcar("run", photos, tmp_path / "run", *options, "--tile", 100, "--overlap", 0.25, "--threads", 3)
    plan = Plan.model_validate_json((tmp_path / "run/plan.json").read_bytes())
    manifest = Manifest.model_validate_json((tmp_path / "run/manifest.json").read_bytes())
    assert (plan.tile, plan.overlap) == (manifest.tile, manifest.overlap) == (100, 0.25)
    assert manifest.status == "valid"
    without, found = ({record.image: record for record in records_of(tmp_path / name)} for name in ("none", "run"))
    small = f"{photos}/small.jpg"
    assert found[small].boxes == without[small].boxes and found[small].boxes
    detector = open_detector(artifact, tiling=Tiling(100, 0.25))
    for name in ("large.jpg", "tall.png"):
        (own,) = detector.detect([read_for(detector, (photos / name).read_bytes())], min_score=0.1).detections
        record = found[f"{photos}/{name}"]
        assert [box.score for box in record.boxes] == own.scores.tolist()
        assert [[box.x, box.y] for box in record.boxes] == own.boxes[:, :2].tolist()
        assert record.boxes != without[record.image].boxes
    assert "100 pixels, overlap 0.25; the artifact was measured without" in boxcar("lineage", tmp_path / "run").stdout
    assert "the artifact was measured without" in (tmp_path / "run/report.html").read_text("utf-8")
    boxcar("plan", photos, tmp_path / "again", *options, "--tile", 100, "--overlap", 0.25, "--part-size", 1)
    boxcar("work", tmp_path / "again")
    again = b"".join(part_bytes(tmp_path / "again").values())
    assert [json.loads(line)["boxes"] for line in again.splitlines()] == [
        json.loads(line)["boxes"] for line in b"".join(part_bytes(tmp_path / "run").values()).splitlines()
    ]


def test_tiles_decide_the_plan_and_what_is_copied(boxcar: Boxcar, artifact: Path, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    boxcar("run", photos, run, "--model", artifact, "--tile", 100)
    arguments = ("--model", artifact, "--since", run)
    same = boxcar("plan", photos, tmp_path / "same", *arguments, "--tile", 100, "--overlap", 0.2)  # the default
    assert "nothing is copied" not in same.stderr
    for options, difference in (
        ((), "--tile is 100 there, none here; --overlap is 0.2 there, none here"),
        (("--tile", 200), "--tile is 100 there, 200 here"),
        (("--tile", 100, "--overlap", 0), "--overlap is 0.2 there, 0.0 here"),
    ):
        other = boxcar("plan", photos, tmp_path / f"other{len(options)}{options[-1:]}", *arguments, *options)
        assert f"nothing is copied from {run}/: {difference}" in other.stderr
        assert difference in boxcar("plan", photos, run, "--model", artifact, *options, code=2).stderr


def test_what_tiles_cost_is_shown_beforehand(boxcar: Boxcar, artifact: Path, photos: Path, tmp_path: Path) -> None:
    arguments = ("plan", photos, tmp_path / "run", "--model", artifact, "--dry-run")
    assert "looks" not in boxcar(*arguments).stdout
    shown = boxcar(*arguments, "--tile", 640).stdout
    assert (
        "1 at an image up to 640 x 640 pixels, 9 at 1920 x 1080, 49 at 4000 x 3000; the listing does not tell" in shown
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--overlap", 0.2), "--overlap is that of tiles; give --tile too"),
        (("--tile", 63), "63 is not in the range x>=64"),
        (("--tile", 100, "--overlap", 0.6), "0.6 is not in the range 0<=x<=0.5"),
        (("--tile", 100, "--overlap", "nan"), "nan is not a number from 0 to 0.5"),
    ],
)
def test_tiles_that_make_no_sense_are_refused(
    boxcar: Boxcar, artifact: Path, photos: Path, tmp_path: Path, options: tuple[object, ...], reason: str
) -> None:
    assert reason in boxcar("plan", photos, tmp_path / "run", "--model", artifact, *options, code=2).stderr
