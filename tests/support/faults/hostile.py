"""A run over the whole hostile corpus."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.support.faults.corpus import corpus
from tests.support.faults.records import records
from tests.support.faults.runs import read_published, require
from tests.support.faults.world import Place, World


def run_over_all(world: World, name: str) -> str:
    """From the bucket: exactly one record for each picture, with its status and size."""
    pictures = corpus()
    client = world.client()
    for key, picture in pictures.items():
        client.put_object(Bucket="fault-photos", Key=f"{name}/{key}", Body=picture.make())
    source, output = Place(f"s3://fault-photos/{name}/", Path()), world.output(name)
    world.boxcar([*world.planning("run", output, source), "--max-failed", "0.6"]).require(0)
    require(read_published(output.folder).status == "valid", "the run is not valid")
    found = records(output.folder)
    keys = [record["image"].removeprefix(source.uri) for record in found]
    require(keys == sorted(pictures, key=str.encode), "other images than there are in the bucket, or in another order")
    for key, record in zip(keys, found, strict=True):
        picture = pictures[key]
        size = None if record["width"] is None else (record["width"], record["height"])
        require((record["status"], size) == (picture.status, picture.size), f"{key!r}: {record['status']}, size {size}")
        require((record["error"] is None) == (record["status"] == "ok"), f"{key!r}: error {record['error']}")
        require(record["status"] == "ok" or not record["boxes"], f"{key!r}: boxes, though {record['status']}")
    counts = Counter(record["status"] for record in found)
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
