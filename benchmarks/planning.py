"""Measure `boxcar plan` for buckets of millions of keys: keys a second and the planner's peak memory.

    python -m benchmarks.planning

The planner reads a listing, then an inventory. A small server in a process of its own answers ListObjectsV2 over keys
that it computes, and serves the inventory's files. It answers some milliseconds late, as S3 does. The planner is a
fresh process each time and writes to a folder.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

import click

from tests.support.local_s3 import LocalS3

FOLDER = 10_000  # keys in each folder of the bucket
ROWS = 500_000  # in each data file of the inventory
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<EncodingType>url</EncodingType><IsTruncated>{truncated}</IsTruncated>{token}"
)
LINE = (
    "<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


class Keys:
    """`count` keys in order, which are computed when they are asked for."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> str:
        return f"photos/{index // FOLDER:05d}/{index:09d}.jpg"


def etag(index: int) -> str:
    """Return an ETag of the length of an MD5."""
    return f"{index * 0x9E3779B97F4A7C15:032x}"[-32:]


class Handler(BaseHTTPRequestHandler):
    """Answers the two requests that planning needs."""

    protocol_version = "HTTP/1.1"
    wbufsize = 2**20  # an answer is one packet or a stream of full ones

    def __init__(self, keys: Keys, root: Path, latency: float, *arguments: object) -> None:
        self.keys, self.root, self.latency = keys, root, latency
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer with a listing, or with a file."""
        time.sleep(self.latency)
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if "list-type" in query:
            return self._answer(self._listing(query))
        path = self.root / unquote(url.path).lstrip("/")
        return self._answer(path.read_bytes())

    def _listing(self, query: dict[str, str]) -> bytes:
        keys, prefix, limit = self.keys, query.get("prefix", ""), int(query.get("max-keys", 1000))
        after = query.get("continuation-token") or query.get("start-after", "")
        start = max(bisect.bisect_left(keys, prefix), bisect.bisect_right(keys, after) if after else 0)
        end = bisect.bisect_left(keys, prefix + "\U0010ffff")
        lines: list[str] = []
        last = ""
        if "delimiter" in query:
            while start < end and len(lines) < limit:
                head, slash, _ = keys[start][len(prefix) :].partition("/")
                last = prefix + head + slash
                lines.append(f"<CommonPrefixes><Prefix>{quote(last)}</Prefix></CommonPrefixes>")
                start = bisect.bisect_left(keys, last + "\U0010ffff") if slash else start + 1
        else:
            stop = min(end, start + limit)
            lines = [LINE.format(key=keys[index], etag=etag(index), size=index) for index in range(start, stop)]
            start = stop
            last = keys[stop - 1] if lines else ""
        truncated = start < end
        token = f"<NextContinuationToken>{quote(last)}</NextContinuationToken>" if truncated else ""
        head = HEAD.format(truncated=str(truncated).lower(), token=token)
        return f"{head}{''.join(lines)}</ListBucketResult>".encode()

    def _answer(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("ETag", '"benchmark"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments: object) -> None:
        """Print nothing on the terminal."""


class Server(ThreadingHTTPServer):
    """Takes as many connections at once as the planner opens."""

    request_queue_size = 128


def _serve(keys: Keys, root: Path, latency: float, ports: multiprocessing.SimpleQueue[int]) -> None:
    server = Server(("127.0.0.1", 0), partial(Handler, keys, root, latency))
    ports.put(server.server_port)
    server.serve_forever()


@contextlib.contextmanager
def serving(keys: Keys, root: Path, latency: float) -> Iterator[LocalS3]:
    """Run the server for the length of the block."""
    ports: multiprocessing.SimpleQueue[int] = multiprocessing.SimpleQueue()
    process = multiprocessing.Process(target=_serve, args=(keys, root, latency, ports), daemon=True)
    process.start()
    try:
        yield LocalS3(f"http://127.0.0.1:{ports.get()}", root, process.pid or 0)
    finally:
        process.terminate()
        process.join()


def write_inventory(keys: Keys, root: Path) -> None:
    """Write an inventory of the keys in Parquet. Its files are in no order, as S3's are."""
    import pyarrow
    import pyarrow.parquet

    folder = root / "reports"
    folder.mkdir()
    files = []
    for start in reversed(range(0, len(keys), ROWS)):
        rows = range(start, min(start + ROWS, len(keys)))
        columns = {
            "bucket": ["bucket"] * len(rows),
            "key": [keys[index] for index in rows],
            "size": list(rows),
            "e_tag": [etag(index) for index in rows],
        }
        path = folder / f"{start}.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        files.append({"key": path.name, "size": path.stat().st_size, "MD5checksum": md5})
    report = {
        "sourceBucket": "bucket",
        "destinationBucket": "arn:aws:s3:::reports",
        "fileFormat": "Parquet",
        "fileSchema": "message s3.inventory {}",
        "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps(report))


def plan(server: LocalS3, output: Path, *options: str) -> tuple[float, float, float]:
    """Return the seconds, CPU seconds and peak MiB of one planner in a process of its own.

    A child's peak is never below that of this process, which must therefore stay small.
    """
    command = [sys.executable, "-m", "jobs", "plan", "s3://bucket/photos/", str(output), *options]
    started = time.monotonic()
    process = subprocess.Popen(command, env=server.environment(), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"boxcar plan ended with {process.returncode}")
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**10


@click.command()
@click.option("--count", "counts", multiple=True, type=int, default=(1_000_000, 10_000_000), show_default=True)
@click.option("--latency", type=float, default=0.05, show_default=True, help="Seconds by which each answer is late.")
def main(counts: tuple[int, ...], latency: float) -> None:
    """Plan synthetic buckets and print a Markdown table."""
    print("| keys | read from | seconds | CPU seconds | keys/s | peak memory |")
    print("| ---: | --- | ---: | ---: | ---: | ---: |", flush=True)
    for count in counts:
        keys = Keys(count)
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch)
            writer = multiprocessing.Process(target=write_inventory, args=(keys, root))
            writer.start()
            writer.join()
            if writer.exitcode:
                raise click.ClickException("the inventory could not be written; the error stands above")
            with serving(keys, root, latency) as server:
                for name, options in (
                    ("listing", ()),
                    ("inventory (Parquet)", ("--inventory", "s3://reports/manifest.json")),
                ):
                    output = root / name
                    seconds, cpu, peak = plan(server, output, *options)
                    assert json.loads((output / "plan.json").read_bytes())["images"] == count
                    rate = f"{count / seconds:,.0f}"
                    print(f"| {count:,} | {name} | {seconds:.0f} | {cpu:.0f} | {rate} | {peak:.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()
