"""Two runs side by side: every image and every box is accounted for once, whichever order it is looked at in."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.diff import EXAMPLES, MATCHED, Difference, compare_boxes, diff, side_by_side
from jobs.formats import BoxRecord, Record
from jobs.published import PublishedRun
from tests.jobs.formats.conftest import Runs, publish
from tests.jobs.helpers import Boxcar, records_of
from tests.support.artifacts import CLASSES


def _box(
    label: str = "dog", score: float = 0.9, x: float = 10, y: float = 20, w: float = 30, h: float = 40
) -> BoxRecord:
    return BoxRecord(label=label, score=score, x=x, y=y, width=w, height=h)


def _kinds(a: list[BoxRecord], b: list[BoxRecord]) -> list[str]:
    return [pair.kind for pair in compare_boxes(a, b)]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({}, "same"),
        ({"score": 0.899}, "same"),
        ({"score": 0.8989}, "rescored"),
        ({"x": 10.5, "w": 29.5}, "same"),  # the left edge alone, by half a pixel
        ({"x": 10.5625, "w": 29.4375}, "moved"),
        ({"w": 30.5625}, "moved"),  # the right edge alone
        ({"x": 10.5, "w": 30.0625}, "moved"),  # the right edge, by its place and not by the width
        ({"y": 20.5625, "h": 39.4375, "score": 0.3}, "moved"),
        ({"h": 40.5, "score": 0.3}, "rescored"),
    ],
)
def test_what_has_changed_in_a_box(change: dict[str, float], kind: str) -> None:
    """The tolerance is that between types of processor; both sides of each border."""
    assert _kinds([_box()], [_box(**change)]) == [kind]  # type: ignore[arg-type]


def test_boxes_match_from_half_an_overlap_on_within_a_label() -> None:
    assert _kinds([_box(x=0, w=20)], [_box(x=0, w=40)]) == ["moved"]  # IoU .5
    assert _kinds([_box(x=0, w=20)], [_box(x=0, w=40.0625)]) == ["lost", "added"]
    assert _kinds([_box("dog")], [_box("cat")]) == ["lost", "added"]
    assert _kinds([], [_box()]) == ["added"] and _kinds([_box()], []) == ["lost"] and _kinds([], []) == []


def test_the_best_overlap_goes_first() -> None:
    """The better-scored box of A overlaps with both of B; the other one only with the nearer."""
    a = [_box(score=0.9, x=0), _box(score=0.5, x=4)]
    b = [_box(score=0.8, x=5), _box(score=0.7, x=1)]
    pairs = compare_boxes(a, b)
    assert [(pair.kind, pair.a, pair.b) for pair in pairs] == [("moved", a[0], b[1]), ("moved", a[1], b[0])]


BOXES = st.lists(
    st.builds(
        _box,
        label=st.sampled_from(CLASSES),
        score=st.integers(0, 10).map(lambda tenths: tenths / 10),
        x=st.integers(0, 30),
        y=st.integers(0, 30),
        w=st.integers(1, 30),
        h=st.integers(1, 30),
    ),
    max_size=8,
)


def _iou(a: BoxRecord, b: BoxRecord) -> float:
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    overlap = max(width, 0) * max(height, 0)
    return overlap / (a.width * a.height + b.width * b.height - overlap)


@given(a=BOXES, b=BOXES)
def test_every_box_is_in_exactly_one_pair(a: list[BoxRecord], b: list[BoxRecord]) -> None:
    pairs = compare_boxes(a, b)
    assert [pair.a for pair in pairs if pair.a is not None] == a
    key = str
    assert sorted((pair.b for pair in pairs if pair.b is not None), key=key) == sorted(b, key=key)
    for pair in pairs:
        assert {box.label for box in (pair.a, pair.b) if box is not None} == {pair.label}
        if pair.a is not None and pair.b is not None:
            assert _iou(pair.a, pair.b) >= MATCHED - 1e-6
        else:
            assert pair.kind == ("lost" if pair.b is None else "added")
    left = [pair.a for pair in pairs if pair.kind == "lost" and pair.a is not None]
    right = [pair.b for pair in pairs if pair.kind == "added" and pair.b is not None]
    assert not any(one.label == other.label and _iou(one, other) > MATCHED + 1e-6 for one in left for other in right)
    assert [pair.kind for pair in compare_boxes(a, a)] == ["same"] * len(a)


@given(a=st.sets(st.text(max_size=3)), b=st.sets(st.text(max_size=3)))
def test_two_streams_become_one_in_the_order_of_keys(a: set[str], b: set[str]) -> None:
    def keyed(keys: set[str]) -> list[tuple[str, Any]]:
        return [(key, f"record of {key}") for key in sorted(keys, key=lambda key: key.encode("utf-8", "surrogatepass"))]

    found = list(side_by_side(iter(keyed(a)), iter(keyed(b))))
    assert found == [
        tuple(f"record of {key}" if key in keys else None for keys in (a, b))
        for key in sorted(a | b, key=lambda key: key.encode("utf-8", "surrogatepass"))
    ]


def _difference(boxcar: Boxcar, a: Path, b: Path) -> Difference:
    return Difference.model_validate_json(boxcar("diff", a, b, "--json").stdout)


def test_two_real_runs(boxcar: Boxcar, made_runs: Runs) -> None:
    """Against a count by hand."""
    found = _difference(boxcar, made_runs.first, made_runs.second)
    a, b = ({record.image: record for record in records_of(run)} for run in (made_runs.first, made_runs.second))
    uri = f"{made_runs.photos}/"
    assert found.images.model_dump() == {
        "both": 10, "compared": 8, "only_in_a": 1, "only_in_b": 1, "new_version": 2, "other_status": 1,
    }  # fmt: skip
    images = {
        change: [example.model_dump() for example in found.image_examples[change]] for change in found.image_examples
    }
    assert images == {
        "only_in_a": [{"image": f"{uri}0001.png", "a": "ok", "b": None}],
        "only_in_b": [{"image": f"{uri}new.png", "a": None, "b": "ok"}],
        "new_version": [
            {"image": f"{uri}0002.png", "a": "ok", "b": "ok"}, {"image": f"{uri}0004.png", "a": "ok", "b": "unreadable"}
        ],
        "other_status": [{"image": f"{uri}0004.png", "a": "ok", "b": "unreadable"}],
    }  # fmt: skip
    compared = [image for image in a if image in b and a[image].status == b[image].status == "ok"]
    for label, changes in found.labels.items():
        assert changes.a == sum(box.label == label for image in compared for box in a[image].boxes)
        assert changes.b == sum(box.label == label for image in compared for box in b[image].boxes)
        assert changes.a == changes.same + changes.rescored + changes.moved + changes.lost
        assert changes.b == changes.same + changes.rescored + changes.moved + changes.added
    assert list(found.labels) == list(CLASSES)
    assert sum(changes.lost for changes in found.labels.values()) > 0  # every logit of the second one is lower
    for kind, examples in found.box_examples.items():
        total = sum(getattr(changes, kind) for changes in found.labels.values())
        assert len(examples) == min(total, EXAMPLES)
        for example in examples:
            assert example.a is None or example.a in a[example.image].boxes
            assert example.b is None or example.b in b[example.image].boxes
    assert (found.a.output, found.b.output) == (f"{made_runs.first}/", f"{made_runs.second}/")
    assert found.a.artifact_sha256 != found.b.artifact_sha256


def test_the_other_way_round_added_is_lost(made_runs: Runs) -> None:
    first, second = PublishedRun.open(str(made_runs.first)), PublishedRun.open(str(made_runs.second))
    there, back = diff(first, second), diff(second, first)
    for label, changes in there.labels.items():
        other = back.labels[label]
        assert (changes.a, changes.b, changes.added, changes.lost) == (other.b, other.a, other.lost, other.added)
        assert (changes.same, changes.rescored, changes.moved) == (other.same, other.rescored, other.moved)
    assert (there.images.only_in_a, there.images.only_in_b) == (back.images.only_in_b, back.images.only_in_a)


def test_a_run_and_itself(boxcar: Boxcar, made_runs: Runs) -> None:
    found = _difference(boxcar, made_runs.first, made_runs.first)
    assert all(changes.same == changes.a == changes.b for changes in found.labels.values())
    assert not any(found.image_examples.values()) and not any(found.box_examples.values())
    assert found == _difference(boxcar, made_runs.first, made_runs.first)
    assert "note: both are of one plan" in boxcar("diff", made_runs.first, made_runs.first).stdout


def test_other_inputs_are_compared_by_key(first: Path, made_runs: Runs) -> None:
    """As when a folder was moved to a bucket."""
    records = [
        record.model_copy(update={"image": record.image.replace(f"{made_runs.photos}/", "s3://photos/2024/")})
        for record in records_of(first)
    ]
    publish(first, records, part_size=3, input="s3://photos/2024/")
    found = diff(PublishedRun.open(str(made_runs.first)), PublishedRun.open(str(first)))
    assert found.images.both == len(records) and not any(found.image_examples.values())


def test_what_people_see(boxcar: Boxcar, made_runs: Runs, first: Path) -> None:
    text = boxcar("diff", made_runs.first, made_runs.second).stdout
    assert "note: the artifacts differ" in text and "min score differs" not in text
    found = _difference(boxcar, made_runs.first, made_runs.second)
    table = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith((*CLASSES, "all"))}
    for label in CLASSES:
        assert [int(count) for count in table[label]] == list(found.labels[label].model_dump().values())
    assert [int(count) for count in table["all"]] == [
        sum(column)
        for column in zip(*(changes.model_dump().values() for changes in found.labels.values()), strict=True)
    ]
    assert f"  {str(made_runs.photos / '0004.png')!r}  ok -> unreadable" in text
    publish(first, records_of(first), min_score=0.5, status="rejected", input="/elsewhere/")
    result = boxcar("diff", made_runs.first, first)
    assert "min score differs: boxes with scores from 0.3 to 0.5 can only be in one of them" in result.stdout
    assert "note: the inputs differ" in result.stdout
    assert "published as rejected" in result.stderr


def test_examples_are_few(boxcar: Boxcar, first: Path, made_runs: Runs) -> None:
    record = next(record for record in records_of(first) if record.boxes)
    many = [record.model_copy(update={"image": f"{record.image}{number:05d}"}) for number in range(100)]
    publish(first, many)
    found = _difference(boxcar, made_runs.first, first)
    assert found.images.only_in_b == 100
    assert [example.image for example in found.image_examples["only_in_b"]] == [
        image.image for image in many[:EXAMPLES]
    ]
    text = boxcar("diff", made_runs.first, first).stdout
    assert text.count("00.png000") < EXAMPLES


def test_a_label_that_no_manifest_lists_is_counted(first: Path, made_runs: Runs) -> None:
    records = records_of(first)
    index = next(index for index, record in enumerate(records) if record.boxes)
    box = records[index].boxes[0].model_copy(update={"label": "unicorn"})
    records[index] = records[index].model_copy(update={"boxes": [*records[index].boxes, box]})
    publish(first, records)
    found = diff(PublishedRun.open(str(made_runs.first)), PublishedRun.open(str(first)))
    assert found.labels["unicorn"].added == 1


def test_few_images_are_held_at_a_time(first: Path) -> None:
    record = next(record for record in records_of(first) if record.boxes)

    def peak(images: int) -> int:
        publish(first, _many(record, images), part_size=10)
        run = PublishedRun.open(str(first))
        tracemalloc.start()
        try:
            assert diff(run, run).images.both == images
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(2_400) < 1.5 * peak(800)


def _many(record: Record, images: int) -> list[Record]:
    return [record.model_copy(update={"image": f"{record.image}{number:06d}"}) for number in range(images)]


@pytest.mark.parametrize("edit", [lambda path: path.unlink(), lambda path: path.write_text("{}")])
def test_a_run_that_cannot_be_read(
    boxcar: Boxcar, made_runs: Runs, first: Path, edit: Callable[[Path], object]
) -> None:
    edit(first / "manifest.json")
    for pair in ((made_runs.first, first), (first, made_runs.first)):
        result = boxcar("diff", *pair, code=2)
        assert f"{first}/" in result.stderr and not result.stdout


def test_json_is_json(boxcar: Boxcar, made_runs: Runs) -> None:
    assert json.loads(boxcar("diff", made_runs.first, made_runs.second, "--json").stdout)["schema"] == 1
