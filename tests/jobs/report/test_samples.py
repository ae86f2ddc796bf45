"""What a report keeps does not depend on how a run is cut into parts, and does not grow with the run."""

from __future__ import annotations

import random
from typing import Any

import pytest

from jobs.formats import BoxRecord, Plan, PlannedImage, PlanPart, Record
from jobs.report import Samples
from jobs.report.samples import A_LABEL, A_STATUS, DOUBTFUL, SAMPLE, distance_to_half
from jobs.tally import Tally

CLASSES = ("cat", "dog", "tree")


def box(label: str, score: float, width: float = 10, height: float = 10) -> BoxRecord:
    return BoxRecord(label=label, score=score, x=0, y=0, width=width, height=height)


def record(key: str, *boxes: BoxRecord, status: str = "ok", **changes: Any) -> Record:
    values: dict[str, Any] = {
        "run": "00000000", "image": f"/photos/{key}", "etag": None, "version_id": None, "bytes": 10, "width": 100,
        "height": 100, "status": status, "error": None, "boxes": list(boxes),
    }  # fmt: skip
    return Record(**(values | changes))


def counted(records: list[Record], part_size: int = 1000, classes: tuple[str, ...] = CLASSES) -> Tally:
    tally = Tally(classes)
    for start in range(0, len(records), part_size):
        tally.add_records(records[start : start + part_size])
    return tally


def sampled(records: list[Record], part_size: int = 1000, classes: tuple[str, ...] = CLASSES) -> Samples:
    parts = [records[start : start + part_size] for start in range(0, len(records), part_size)]
    names = [PlanPart(name=f"part-{number:07d}", count=len(part), sha256="") for number, part in enumerate(parts)]
    samples = Samples(Plan.model_construct(parts=names), classes)
    for part in parts:
        images = [PlannedImage(key=r.image.removeprefix("/photos/"), size=10, etag=None, mtime_ns=1) for r in part]
        samples.add(images, part)
    return samples


def many(count: int) -> list[Record]:
    draw = random.Random(1)
    records = []
    for number in range(count):
        if draw.random() < 0.1:
            records.append(record(f"{number:06d}.jpg", status=draw.choice(["missing", "unreadable"]), width=None))
            continue
        boxes = [box(draw.choice(CLASSES), round(draw.random(), 4)) for _ in range(draw.randrange(4))]
        records.append(record(f"{number:06d}.jpg", *boxes))
    return records


def _names(samples: Samples) -> dict[str, list[str]]:
    chosen = {f"label {label}": sample for label, sample in samples.by_label.items()}
    chosen |= {f"status {status}": failures for status, failures in samples.failures.items()}
    return {name: [item.record.image for item in sample] for name, sample in (chosen | {"": samples.doubtful}).items()}


def test_the_choice_is_the_same_however_the_run_is_cut() -> None:
    records = many(400)
    assert _names(sampled(records)) == _names(sampled(records, part_size=7))
    whole, cut = counted(records), counted(records, part_size=7)
    assert whole.statuses == cut.statuses and (whole.histograms.boxes == cut.histograms.boxes).all()
    assert whole.labels.total() == sum(len(r.boxes) for r in records) == whole.histograms.sizes.sum()


def test_a_longer_run_keeps_no_more() -> None:
    samples = sampled(many(3000))
    assert {len(list(sample)) for sample in samples.by_label.values()} == {A_LABEL}
    assert {len(list(failures)) for failures in samples.failures.values()} == {A_STATUS}
    assert len(list(samples.doubtful)) == DOUBTFUL


def test_a_sample_is_not_the_beginning_of_a_run() -> None:
    numbers = [int(item.record.image[-10:-4]) for item in sampled(many(3000)).by_label["cat"]]
    assert max(numbers) > 1000


def test_many_labels_share_the_sample() -> None:
    classes = tuple(f"label{number}" for number in range(400))
    records = [record(f"{number:06d}.jpg", box(classes[number % 400], 0.9)) for number in range(1600)]
    assert all(len(list(sample)) == 1 for sample in sampled(records, classes=classes).by_label.values())
    assert len(classes) > SAMPLE


def test_scores_nearest_to_one_half_are_shown_and_none_that_leaves_no_doubt() -> None:
    scores = [0.5, 0.4999, 0.5001, 0.1, 0.99, 0.61, 0.6501, 0.35]
    records = [record(f"{number}.jpg", box("cat", score), box("dog", 0.02)) for number, score in enumerate(scores)]
    found = [item.record.image for item in sampled(records).doubtful]
    assert found[0] == "/photos/0.jpg" and set(found[1:3]) == {"/photos/1.jpg", "/photos/2.jpg"}
    assert found[3:] == ["/photos/5.jpg", "/photos/7.jpg"]
    assert distance_to_half(0.4999) == distance_to_half(0.5001)  # in binary they differ


@pytest.mark.parametrize("score", [-1.0, 1.5])
def test_what_rules_reject_is_counted_all_the_same(score: float) -> None:
    odd = record("a.jpg", box("unicorn", 0.5), box("cat", score), box("dog", 0.5, width=-3), box("dog", 0.5, 1e6, 1e6))
    without_size = record("b.jpg", box("cat", 0.5), width=None, height=0)
    tally = counted([odd, without_size, record("c.jpg", status="lost")])
    assert tally.unknown == 1 and tally.labels == {"cat": 2, "dog": 2, "unicorn": 1}
    assert tally.statuses == {"ok": 2, "lost": 1} and tally.detected == 2
    assert tally.histograms.boxes.sum() == 3  # the size of a box in no frame is not known


def test_the_part_of_a_key_is_found_and_none_before_the_first() -> None:
    records = [record(f"{letter}.jpg") for letter in "bdfhj"]
    samples = sampled(records, part_size=2)
    assert [part.name if (part := samples.part_of(key)) else None for key in ("a", "b.jpg", "e", "f.jpg", "z")] == [
        None, "part-0000000", "part-0000000", "part-0000001", "part-0000002",
    ]  # fmt: skip
