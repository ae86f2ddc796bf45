"""Show how much the measures of the drift rules vary by chance, and their values for photographs of one kind.

    python -m benchmarks.drift OUTPUT

OUTPUT is a run over images like those that its artifact was tested on, such as the test split itself: 500 and more.
"""

from __future__ import annotations

from collections.abc import Sequence

import click
import numpy as np

from detector.runtime.artifact import Artifact
from jobs.formats import Plan, Record
from jobs.model import run_artifact
from jobs.parts import WholePart, find_parts
from jobs.plan import require_plan
from jobs.profile import Profiles
from jobs.rules.drift import first_compared, measure
from jobs.rules.policy import BOX_RULES, DRIFT_IMAGES
from jobs.storage import open_store


def judge(records: Sequence[Record], plan: Plan, artifact: Artifact) -> list[float]:
    """The three measures over some records."""
    profiles = Profiles(plan, artifact.classes, first_compared(artifact, plan.min_score), depth=0)
    profiles.add(records)
    found = measure(profiles.whole, artifact, plan.min_score)
    return [float("nan") if drift.value is None else drift.value for drift in found.values()]


def dimmed(record: Record, by: float, least: float) -> Record:
    """Return the record with every score lower by `by`, but not below `least`, which is the run's own."""
    boxes = [box.model_copy(update={"score": max(least, box.score - by)}) for box in record.boxes]
    return record.model_copy(update={"boxes": boxes})


@click.command()
@click.argument("output")
@click.option("--draws", type=int, default=200, show_default=True)
def main(output: str, draws: int) -> None:
    """Draw samples from a run's records and print a Markdown table."""
    store = open_store(output)
    plan = require_plan(store)
    artifact = run_artifact(store, plan)
    records = [
        record
        for part in find_parts(store, plan, plan.parts)
        if isinstance(part, WholePart)
        for record in part.records
        if record.status == "ok"
    ]
    random = np.random.default_rng(0)
    spread = [
        judge([records[i] for i in random.choice(len(records), DRIFT_IMAGES, replace=False)], plan, artifact)
        for _ in range(draws)
    ]
    print(f"| images | {' | '.join(f'`{name}`' for name in BOX_RULES)} |")
    print(f"| --- |{' ---: |' * len(BOX_RULES)}")
    rows = {f"the run's {len(records):,}": judge(records, plan, artifact)}
    rows[f"{DRIFT_IMAGES} of them, {draws} draws: lowest"] = np.min(spread, axis=0).tolist()
    rows[f"{DRIFT_IMAGES} of them, {draws} draws: highest"] = np.max(spread, axis=0).tolist()
    for label in ("person", "car", "dog"):
        own = [record for record in records if any(box.label == label for box in record.boxes)]
        if own:  # repeated, where there are too few to be judged
            rows[f"only those with a {label} ({len(own):,})"] = judge(
                own * -(-DRIFT_IMAGES // len(own)), plan, artifact
            )
    for by in (0.02, 0.05, 0.1):
        rows[f"all, scores lower by {by}"] = judge(
            [dimmed(record, by, plan.min_score) for record in records], plan, artifact
        )
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in values)} |")


if __name__ == "__main__":
    main()
