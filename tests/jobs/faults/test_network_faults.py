"""What networks and servers do to requests on bad days."""

from __future__ import annotations

import pytest

from tests.support.faults.network import disturbed, first_answers_lost, lengths_lost, other_version, unreachable
from tests.support.faults.proxy import FAULTS, Request, seeded
from tests.support.faults.world import World


def test_a_fifth_of_the_requests_fails(world: World) -> None:
    assert "bytes equal" in disturbed(world, "disturbed", seed=1)


@pytest.mark.parametrize("fault", ["503 SlowDown", "reset", "lost answer"])
def test_what_is_tried_again_needs_no_second_run(world: World, fault: str) -> None:
    assert "exit 0 at once" in disturbed(world, f"one-{fault.partition(' ')[0]}", seed=3, faults=(fault,))


def test_a_server_that_goes_away(world: World) -> None:
    unreachable(world, "unreachable")


def test_answers_that_end_before_their_length(world: World) -> None:
    lengths_lost(world, "lengths-lost")


def test_answers_to_conditional_writes_are_lost(world: World) -> None:
    first_answers_lost(world, "answers-lost")


def test_another_versions_etag(world: World) -> None:
    other_version(world, "other-version")


def test_lots_are_seeded_and_fair() -> None:
    requests = [Request("GET", f"/{index}", 1) for index in range(3000)]
    lots = [seeded(1)(request) for request in requests]
    assert lots == [seeded(1)(request) for request in requests] != [seeded(2)(request) for request in requests]
    assert set(lots) == {None, *FAULTS}
    assert 500 < sum(lot is not None for lot in lots) < 700
