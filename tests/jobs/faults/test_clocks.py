"""The clock of the machine jumps by an hour while a run is under way."""

from __future__ import annotations

from tests.jobs.faults.checks import assert_ended, assert_said, assert_same, assert_whole_parts
from tests.support.faults.clocks import jumping, lengths_are_true, refused
from tests.support.faults.world import World


def test_jumps_forward_and_backward_change_nothing(world: World) -> None:
    happened = jumping(world, "jumping")
    assert_ended(happened, {"run": 0})
    assert happened.facts["skews"] == {0, 1, -1}
    assert -1 in happened.facts["ends"]  # a part ended while the clock was an hour behind
    assert lengths_are_true(happened), happened.facts["times"]
    assert_same(world, happened, "end")


def test_a_server_that_compares_clocks_ends_the_run_with_one_line(world: World) -> None:
    happened = refused(world, "skewed")
    assert_ended(happened, {"stopped": 5, "resumed": 0})
    assert_said(happened, "stopped", "this machine's clock differs from the server's; set the clock", "run again")
    assert_whole_parts(world, happened)
    assert_same(world, happened, "end")
