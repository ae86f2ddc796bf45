"""Prepare a bucket of photographs, a place for boxes, and the undisturbed run to compare every other one with."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3

from tests.support.faults.prepared import Prepared
from tests.support.faults.proxy import Proxy, proxy
from tests.support.faults.runs import Ended, NotTried, Process, Running, State, read_state
from tests.support.local_s3 import ACCESS_KEY, SECRET_KEY, LocalS3


@dataclass(frozen=True)
class Place:
    """An OUTPUT or INPUT: its name for the command, and the folder in which its files lie."""

    uri: str
    folder: Path

    def __str__(self) -> str:
        return self.uri


@dataclass(frozen=True)
class World:
    """The stage of every fault; INPUT lies in one bucket of the server, OUTPUTs in another or in folders."""

    server: LocalS3
    scratch: Path
    artifact: Path
    part_size: int
    hasty: bool  # quick starts, short time-outs and pauses: see prepared.py

    @property
    def photos(self) -> Place:
        """INPUT."""
        return Place("s3://fault-photos/in/", self.server.root / "fault-photos/in")

    def output(self, name: str, *, s3: bool = True) -> Place:
        """A new OUTPUT."""
        if s3:
            return Place(f"s3://fault-boxes/{name}/", self.server.root / "fault-boxes" / name)
        folder = self.scratch / "boxes" / name
        return Place(str(folder), folder)

    def planning(self, verb: str, output: Place, source: Place | None = None) -> list[str]:
        """The arguments of `boxcar run` or `boxcar plan`."""
        options = ["--model", str(self.artifact), "--part-size", str(self.part_size)]
        return [verb, str(source or self.photos), str(output), *options]

    def environment(self, **changed: str) -> dict[str, str]:
        """The variables of a command."""
        return self.server.environment() | changed

    def start(self, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Running:
        """`boxcar` with these arguments, running."""
        return (Prepared if self.hasty else Process)(arguments, environment or self.environment())

    def boxcar(self, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Ended:
        """`boxcar` with these arguments, to its end."""
        return self.start(arguments, environment).wait()

    @contextlib.contextmanager
    def proxy(self, endpoint: str | None = None) -> Iterator[Proxy]:
        """A proxy before the server, or another one; a stall is longer than the job waits."""
        with proxy(endpoint or self.server.endpoint, stall_seconds=1.5 if self.hasty else 12.0) as state:
            yield state

    @cached_property
    def undisturbed(self) -> State:
        """The run that nothing happens to."""
        output = self.output("undisturbed")
        ended = self.boxcar(self.planning("run", output))
        if ended.code:
            raise NotTried(f"a run that nothing happens to ends with exit {ended.code}: {ended.stderr[-2000:]}")
        return read_state(output.folder)

    def run(self, output: Place, environment: Mapping[str, str] | None = None) -> Ended:
        """`boxcar run` on the photographs: the first time, or again."""
        return self.boxcar(self.planning("run", output), environment)

    def client(self, endpoint: str | None = None) -> Any:
        """A client of the server, or of another one; past every proxy."""
        return boto3.session.Session(
            aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name="us-east-1"
        ).client("s3", endpoint_url=endpoint or self.server.endpoint)


def build_world(
    server: LocalS3, scratch: Path, artifact: Path, photos: Mapping[str, bytes], part_size: int, *, hasty: bool
) -> World:
    """Create the buckets and upload the photographs, by key."""
    world = World(server, scratch, artifact.resolve(), part_size, hasty)
    client = world.client()
    for bucket in ("fault-photos", "fault-boxes"):
        client.create_bucket(Bucket=bucket)
    for key, data in photos.items():
        client.put_object(Bucket="fault-photos", Key=f"in/{key}", Body=data)
    os.makedirs(scratch, exist_ok=True)
    return world
