"""Requests fail and answers get lost, as they do when networks and servers fail."""

from __future__ import annotations

import pytest

from tests.jobs.faults.checks import assert_ended, assert_said, assert_same, assert_whole_parts
from tests.support.faults.network import disturbed, first_answers_lost, lengths_lost, other_version, unreachable
from tests.support.faults.proxy import FAULTS, Request, seeded
from tests.support.faults.world import World


def test_a_fifth_of_the_requests_fails(world: World) -> None:
    """A run that gives up says so in one line and keeps its parts; the same command comes through in the end."""
    happened = disturbed(world, "disturbed", seed=1)
    *given_up, last = happened.commands
    assert_ended(happened, dict.fromkeys(given_up, 5) | {last: 0})
    assert happened.facts["disturbed"] > 0
    assert_whole_parts(world, happened)
    assert_same(world, happened, "end")


@pytest.mark.parametrize("fault", ["503 SlowDown", "reset", "lost answer"])
def test_what_is_tried_again_needs_no_second_run(world: World, fault: str) -> None:
    happened = disturbed(world, f"one-{fault.partition(' ')[0]}", seed=3, faults=(fault,))
    assert_ended(happened, {"run 1": 0})
    assert happened.facts["disturbed"] > 0
    assert_same(world, happened, "end")


def test_a_server_that_goes_away(world: World) -> None:
    happened = unreachable(world, "unreachable")
    assert_ended(happened, {"stopped": 5, "resumed": 0})
    assert_said(happened, "stopped", "check the network")
    assert_whole_parts(world, happened)
    assert_same(world, happened, "end")


def test_answers_that_end_before_their_length(world: World) -> None:
    happened = lengths_lost(world, "lengths-lost")
    assert_ended(happened, {"run": 0})
    assert happened.facts["cut"] > 0
    assert_same(world, happened, "end")


def test_answers_to_conditional_writes_are_lost(world: World) -> None:
    happened = first_answers_lost(world, "answers-lost")
    assert_ended(happened, {"run": 0})
    plan, manifest, latest = (happened.facts[name] for name in ("plan", "manifest", "latest"))
    assert {"plan.json", "manifest.json", "latest.json"} <= set(happened.facts["lost"])
    assert manifest["lineage"]["plan_digest"] == plan["digest"]
    assert latest["run"] == plan["run"]


def test_another_versions_etag(world: World) -> None:
    happened = other_version(world, "other-version")
    assert_ended(happened, {"plan": 0, "work": 0})
    statuses, altered = happened.facts["statuses"], happened.facts["altered"]
    assert len(statuses) == 20 and 0 < len(altered) < 20
    assert statuses == {name: "changed" if name in altered else "ok" for name in statuses}


def test_lots_are_seeded_and_fair() -> None:
    requests = [Request("GET", f"/{index}", 1) for index in range(3000)]
    lots = [seeded(1)(request) for request in requests]
    assert lots == [seeded(1)(request) for request in requests] != [seeded(2)(request) for request in requests]
    assert set(lots) == {None, *FAULTS}
    assert 500 < sum(lot is not None for lot in lots) < 700
