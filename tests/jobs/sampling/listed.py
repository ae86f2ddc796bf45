"""A published run whose records are in memory."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.formats import BoxRecord, Record
from jobs.published_run import BaselineCounts, PublishedRun
from tests.support.published import record, write_run


@dataclass(frozen=True)
class Listed(PublishedRun):
    """A run whose records are in memory. Its artifact's operating score is .3."""

    listed: tuple[Record, ...]
    counted: BaselineCounts | None = None

    def records(self) -> Generator[Record]:
        yield from self.listed

    def baseline(self) -> BaselineCounts | None:
        return self.counted

    def operating_score(self) -> float:
        return 0.3


def box(label: str, score: float) -> BoxRecord:
    """A box of 9 by 9 pixels in the corner."""
    return BoxRecord(label=label, score=score, x=0, y=0, width=9, height=9)


def listed(output: Path, boxes: list[list[BoxRecord]], min_score: float | None = None) -> Listed:
    """A run with one image for each list of boxes; output: a published run, for everything else."""
    run = PublishedRun.open(str(output))
    one = next(run.records())
    records = [
        one.model_copy(update={"image": f"{run.manifest.input}{n:04d}", "status": "ok", "boxes": found})
        for n, found in enumerate(boxes)
    ]
    counts: dict[str, int] = {}
    for item in (item for found in boxes for item in found):
        counts[item.label] = counts.get(item.label, 0) + 1
    least = run.manifest.min_score if min_score is None else min_score
    manifest = run.manifest.model_copy(update={"boxes": counts, "min_score": least})
    return Listed(run.store, manifest, run.digest, tuple(records))


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The OUTPUT of a run of one image, whose artifact knows cats, dogs and trees."""
    card = '{"classes": ["cat", "dog", "tree"]}'
    one = record("/in/0.png", etag=None)
    return write_run(tmp_path_factory.mktemp("small"), "/in/", [one], card=card, labels=("cat", "dog", "tree"))
