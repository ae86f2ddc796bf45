"""Each rule has a planted fault that trips it and no other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import expectations
from jobs.expectations import MAX_EXAMPLES, Review
from jobs.manifest import ERRORS, BoxRecord, Plan, Record, Validation

CLASSES = ("cat", "dog")
PLAN = Plan(
    run="0" * 8, digest="0" * 64, planned_at="2024-01-01T00:00:00+00:00", input="/p/", artifact_sha256="0" * 64,
    min_score=0.3, part_size=500, images=20, other_files=0, parts=[],
)  # fmt: skip


def _box(**changes: object) -> BoxRecord:
    whole = BoxRecord(label="cat", score=0.5, x=10.0, y=20.0, width=30.0, height=40.0)
    return whole.model_copy(update=changes)


def _record(image: str, status: str = "ok", boxes: list[BoxRecord] | None = None) -> Record:
    ok = status == "ok"
    return Record(
        run=PLAN.run, image=image, etag="e", version_id=None, bytes=9, width=100 if ok else None,
        height=80 if ok else None, status=status, error=ERRORS.get(status), boxes=boxes or [],
    )  # fmt: skip


IMAGES = [f"/p/{index}.jpg" for index in range(20)]


def _judge(records: list[Record], max_failed: float = 0.1) -> Validation:
    review = Review(PLAN, CLASSES, max_failed)
    review.add(IMAGES, records)
    return review.verdict()


def _records(boxes: list[BoxRecord] | None = None) -> list[Record]:
    """Good records; the third one has `boxes`."""
    good = [_box(), _box(label="dog", score=0.3, x=0.0, y=0.0, width=100.0, height=80.0), _box(score=1.0)]
    return [_record(image, boxes=boxes if boxes and index == 2 else good) for index, image in enumerate(IMAGES)]


def test_good_records_are_valid() -> None:
    validation = _judge(_records())
    assert validation.status == "valid"
    assert {rule.rule: rule.checked for rule in validation.rules} == {
        "complete": 20, "unique": 20, "planned": 20, "failed_share": 20, "status_known": 20,
        "boxes_inside": 60, "boxes_positive": 60, "scores_in_range": 60, "labels_known": 60,
    }  # fmt: skip


def test_nothing_is_valid() -> None:
    assert Review(PLAN, CLASSES, 0.0).verdict().status == "valid"


FAULTS: dict[str, tuple[str, Callable[[], list[Record]]]] = {
    "a record is missing": ("complete", lambda: [r for r in _records() if r.image != IMAGES[2]]),
    "a record is repeated": ("unique", lambda: [*_records(), _record(IMAGES[2])]),
    "an image was not planned": ("planned", lambda: [*_records(), _record("/p/other.jpg")]),
    "many failed": ("failed_share", lambda: [_record(i, "empty") for i in IMAGES[:3]] + _records()[3:]),
    "left of the image": ("boxes_inside", lambda: _records([_box(x=-0.0625)])),
    "above the image": ("boxes_inside", lambda: _records([_box(y=-0.0625)])),
    "right of the image": ("boxes_inside", lambda: _records([_box(x=70.0625)])),
    "below the image": ("boxes_inside", lambda: _records([_box(y=40.0625)])),
    "no width": ("boxes_positive", lambda: _records([_box(width=0.0)])),
    "negative height": ("boxes_positive", lambda: _records([_box(height=-1.0)])),
    "score below the threshold": ("scores_in_range", lambda: _records([_box(score=0.2999)])),
    "score above one": ("scores_in_range", lambda: _records([_box(score=1.0001)])),
    "unknown label": ("labels_known", lambda: _records([_box(label="wolf")])),
    "no label": ("labels_known", lambda: _records([_box(label="")])),
    "boxes without a frame": (
        "boxes_inside",
        lambda: [r.model_copy(update={"width": None}) if r.image == IMAGES[2] else r for r in _records()],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault(fault: str) -> None:
    rule, plant = FAULTS[fault]
    validation = _judge(plant())
    assert validation.status == "rejected"
    (broken,) = (result for result in validation.rules if not result.passed)
    assert broken.rule == rule
    assert broken.broken >= 1
    expected = {"planned": ["/p/other.jpg"], "failed_share": IMAGES[:3]}.get(rule, [IMAGES[2]])
    assert broken.examples == expected


def test_unknown_status() -> None:
    """It is no success either, so it counts as failed."""
    records = [_record(image, "lost" if image == IMAGES[2] else "ok") for image in IMAGES]
    validation = _judge(records)
    assert [(rule.rule, rule.examples) for rule in validation.rules if not rule.passed] == [
        ("status_known", [IMAGES[2]])
    ]


@pytest.mark.parametrize(("limit", "status"), [(0.05, "valid"), (0.0499, "rejected"), (0, "rejected"), (1, "valid")])
def test_limit_of_failures(limit: float, status: str) -> None:
    """One in twenty failed; a share equal to the limit is allowed."""
    assert _judge([_record(IMAGES[0], "missing"), *_records()[1:]], limit).status == status


def test_batches_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults in several batches add up, and the examples stay few."""
    monkeypatch.setattr(expectations, "BATCH_ROWS", 7)
    bad = [_box(score=0.1)]
    review = Review(PLAN, CLASSES, 0.1)
    for part in range(5):
        images = [f"/p/{part}-{index}.jpg" for index in range(10)]
        review.add(images, [_record(image, boxes=bad) for image in images])
    (broken,) = (rule for rule in review.verdict().rules if not rule.passed)
    assert (broken.rule, broken.checked, broken.broken) == ("scores_in_range", 50, 50)
    assert broken.examples == [f"/p/{index // 10}-{index % 10}.jpg" for index in range(MAX_EXAMPLES)]


CHILD = """
import os, socket, sys
def refuse(*arguments, **options):
    raise SystemExit(f"network: {arguments}")
socket.socket.connect = socket.socket.connect_ex = refuse
from jobs.expectations import Review
from tests.jobs.test_expectations import PLAN
print(Review(PLAN, ("cat",), 0.1).verdict().status, os.environ["GX_ANALYTICS_ENABLED"])
"""


def test_quiet_and_private(tmp_path: Path) -> None:
    """No analytics, nothing written to the home folder, nothing on the terminal."""
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    before = {name: value for name, value in os.environ.items() if not name.startswith("GX_")}
    result = subprocess.run(
        [sys.executable, "-c", CHILD], env=before | {"HOME": str(home)}, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "valid false\n", "")
    assert list(home.iterdir()) == []
