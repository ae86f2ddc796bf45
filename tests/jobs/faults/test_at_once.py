"""Several processes on one OUTPUT."""

from __future__ import annotations

import pytest

from tests.support.faults.together import one_shard_killed, two_runs, two_workers
from tests.support.faults.world import World


@pytest.mark.parametrize("meet", ["plan.json", "manifest.json"])
def test_two_runs_that_write_an_object_at_once(world: World, meet: str) -> None:
    two_runs(world, world.output(f"two-runs-{meet.partition('.')[0]}"), meet)


def test_two_runs_in_a_folder(world: World) -> None:
    two_runs(world, world.output("two-runs", s3=False))


def test_two_workers(world: World) -> None:
    two_workers(world, world.output("two-workers"))


def test_one_shard_killed(world: World) -> None:
    one_shard_killed(world, "shards")
