"""Measure the CPU milliseconds for each image of each step of the batch job, alone in one thread:

    python -m benchmarks.batch.roofline ARTIFACT INPUT OUTPUT COUNT

No batch job made of these steps can do more images a second than cores / their sum. Prints JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

from detector.runtime.artifact import load_artifact
from detector.runtime.detector import open_detector, read_for
from jobs.budget import Budget
from jobs.decoding.decoders import Decoders
from jobs.formats import Plan, PlannedImage, encode_lines
from jobs.image import FetchedImage, Imager
from jobs.storage import Entry, open_store


class Steps:
    """CPU time by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the CPU time of a block, all threads included."""
        start = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start


def measure(artifact: Path, source_uri: str, output_uri: str, count: int) -> dict[str, float]:
    """Return the milliseconds for each image by step, over the first `count` images below `source_uri`."""
    source, output = open_store(source_uri), open_store(output_uri)
    entries = list(islice(source.list(), count))
    detector = open_detector(artifact)
    plan = Plan(
        run="roofline", digest="", planned_at="2000-01-01T00:00:00Z", input=source.uri, artifact_sha256="",
        min_score=load_artifact(artifact).operating_score, part_size=count, images=count, other_files=0, parts=[],
    )  # fmt: skip
    warm = read_for(detector, source.fetch(entries[0]).data)
    for _ in range(5):
        detector.detect([warm])

    steps = Steps()
    with steps.step("get"):
        contents = [source.fetch(Entry(entry.key, entry.size, entry.etag, entry.mtime_ns)) for entry in entries]
    with steps.step("decode"):
        for content in contents:
            read_for(detector, content.data)
    # The detector's steps follow each other within one call. Its CPU time is divided among them in
    # proportion to their wall times.
    shares: dict[str, float] = {}
    spent = Steps()
    for content in contents:
        read = read_for(detector, content.data)
        with spent.step("predict"):
            took = detector.detect([read]).seconds
        for name, seconds in took.items():
            shares[name] = shares.get(name, 0.0) + seconds
    for name, seconds in shares.items():
        steps.seconds[name] = spent.seconds["predict"] * seconds / sum(shares.values())
    # The records are made before the clock starts: only their encoding and writing is counted.
    records = []
    with closing(Decoders(Budget(2**40), 1)) as decoders:
        imager = Imager(source, plan, detector, decoders)
        for entry, content in zip(entries, contents, strict=True):
            fetched: Future[FetchedImage] = Future()
            fetched.set_result(FetchedImage(content, 0.0))
            image = PlannedImage(key=entry.key, size=entry.size, etag=entry.etag, mtime_ns=entry.mtime_ns)
            records.append(imager.make(image, fetched).record)
    with steps.step("encode and put"):
        output.write("boxes/roofline.jsonl", encode_lines(records))
    return {name: 1000 * seconds / len(entries) for name, seconds in steps.seconds.items()}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))))
