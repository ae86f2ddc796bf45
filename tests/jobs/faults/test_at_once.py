"""Several processes on one OUTPUT."""

from __future__ import annotations

import signal

import pytest

from tests.jobs.faults.checks import assert_ended, assert_same, assert_whole_parts
from tests.support.faults.together import one_shard_killed, two_runs, two_workers
from tests.support.faults.world import Place, World


def _two_runs(world: World, output: Place, meet: str = "") -> None:
    happened = two_runs(world, output, meet)
    assert_ended(happened, {"one": 0, "two": 0, "finish": 0})
    # Of two plans at once the last stays on a server without conditional writes, as this one, also where the processes
    # are to meet later. The plans are equal but for their times, where the processes start in different seconds.
    assert_same(world, happened, "both", "end", planned_once=not meet)


@pytest.mark.parametrize("meet", ["plan.json", "manifest.json"])
def test_two_runs_that_write_an_object_at_once(world: World, meet: str) -> None:
    _two_runs(world, world.output(f"two-runs-{meet.partition('.')[0]}"), meet)


def test_two_runs_in_a_folder(world: World) -> None:
    _two_runs(world, world.output("two-runs", s3=False))


def test_two_workers(world: World) -> None:
    happened = two_workers(world, world.output("two-workers"))
    assert_ended(happened, {"plan": 0, "one": 0, "two": 0, "finish": 0})
    assert_same(world, happened, "end")


def test_one_shard_killed(world: World) -> None:
    happened = one_shard_killed(world, "shards")
    codes = {"plan": 0, "shard 0": 0, "shard 2": 0, "killed": -signal.SIGKILL, "finish too early": 4}
    assert_ended(happened, codes | {"shard 1 again": 0, "finish": 0})
    # The records of the first part of shard 1 are there, but what follows them is not.
    assert happened.facts["named"] == happened.facts["missing"]
    assert happened.states["refused"].status is None
    assert_whole_parts(world, happened)
    assert_same(world, happened, "end")
