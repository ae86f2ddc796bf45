"""A published run is read as it was published, or not at all."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from jobs.errors import IncompleteError, ModelError, UsageError
from jobs.published_run import PublishedRun
from tests.jobs.formats.conftest import Runs, publish
from tests.jobs.helpers import Boxcar, records_of
from tests.support.artifacts import CLASSES


def test_records_come_in_order_with_their_keys(made_runs: Runs) -> None:
    run = PublishedRun.open(str(made_runs.first))
    records = list(run.records())
    assert records == records_of(made_runs.first)
    keys = [run.key(record) for record in records]
    assert "0001.png" in keys and "sub/0003.png" in keys
    assert keys == sorted(keys, key=str.encode)
    assert run.labels() == list(CLASSES)


def test_a_run_that_is_not_published(boxcar: Boxcar, first: Path, tmp_path: Path) -> None:
    (first / "manifest.json").unlink()
    for output in (first, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=f"no published run here.*boxcar finish {output}/"):
            PublishedRun.open(str(output))
        assert "no published run here" in boxcar("convert", output, "--to", "csv", code=2).stderr


@pytest.mark.parametrize("damage", ["missing", "changed since it was published"])
def test_a_part_that_is_not_the_published_one(boxcar: Boxcar, first: Path, tmp_path: Path, damage: str) -> None:
    """And the advice repairs it."""
    path = first / "boxes/part-0000001.jsonl"
    good = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(good.replace(b"0.5", b"0.6", 1) + b" ")
    with pytest.raises(IncompleteError, match=f"part-0000001.jsonl: {damage}; make it again with: boxcar work {first}"):
        list(PublishedRun.open(str(first)).records())
    for command in (["convert", first, "--to", "coco", "--out", tmp_path / "out"], ["diff", first, first]):
        assert damage in boxcar(*command, code=4).stderr
    assert not list((tmp_path / "out").iterdir())


def test_an_artifact_that_is_not_the_runs(boxcar: Boxcar, first: Path, tmp_path: Path) -> None:
    card = first / "model/model.json"
    card.write_bytes(card.read_bytes() + b" ")
    with pytest.raises(ModelError, match="not that of the artifact that made the run"):
        PublishedRun.open(str(first)).labels()
    card.unlink()
    assert "model/model.json: missing" in boxcar("convert", first, "--to", "coco", "--out", tmp_path, code=6).stderr


def test_labels_that_the_artifact_does_not_have_come_last(first: Path) -> None:
    counts = PublishedRun.open(str(first)).manifest.boxes
    publish(first, records_of(first), boxes={"unicorn": 1} | counts, status="rejected")
    assert PublishedRun.open(str(first)).labels() == [*CLASSES, "unicorn"]


def test_few_records_are_held_at_a_time(first: Path) -> None:
    """Four times as many images do not take more memory."""
    record = next(record for record in records_of(first) if record.boxes)

    def peak(images: int) -> int:
        records = [record.model_copy(update={"image": f"{record.image}{number:06d}"}) for number in range(images)]
        publish(first, records, part_size=10)
        del records
        run = PublishedRun.open(str(first))  # its manifest lists every part, which is not measured here
        assert sum(1 for _ in run.records()) == images  # fills the bounded string cache of pydantic
        tracemalloc.start()
        try:
            assert sum(1 for _ in run.records()) == images
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(3_200) < 1.5 * peak(800)
