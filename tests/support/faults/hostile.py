"""Run the job over the whole hostile corpus."""

from __future__ import annotations

from pathlib import Path

from tests.support.faults.corpus import corpus
from tests.support.faults.records import records
from tests.support.faults.runs import Happened, read_state
from tests.support.faults.world import Place, World


def run_over_all(world: World, name: str) -> Happened:
    """Run over the corpus in a bucket; facts["records"] has the records by key, in their order."""
    client = world.client()
    for key, image in corpus().items():
        client.put_object(Bucket="fault-photos", Key=f"{name}/{key}", Body=image.make())
    source, output = Place(f"s3://fault-photos/{name}/", Path()), world.output(name)
    ended = world.boxcar([*world.planning("run", output, source), "--max-failed", "0.6"])
    found = [(record["image"].removeprefix(source.uri), record) for record in records(output.folder)]
    return Happened({"run": ended}, {"end": read_state(output.folder)}, {"records": found})
