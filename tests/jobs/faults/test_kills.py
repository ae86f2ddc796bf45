"""Killed at any moment and started again, a run ends with the bytes of one that was left alone."""

from __future__ import annotations

import signal
from collections import Counter

import pytest

from tests.support.faults.kills import Phase, count_requests, draw_moments, killed_and_resumed
from tests.support.faults.world import World


@pytest.fixture(scope="module")
def requests(world: World) -> Counter[Phase]:
    """How many there are in each phase."""
    return count_requests(world, world.output("counted"))


def test_phases(requests: Counter[Phase]) -> None:
    assert requests["planning"] > 5 and requests["work"] > 20 and requests["finish"] > 5


def test_moments_are_spread_and_seeded(requests: Counter[Phase]) -> None:
    moments = draw_moments(1, 20, requests)
    assert moments == draw_moments(1, 20, requests) != draw_moments(2, 20, requests)
    assert {(moment.phase, moment.when) for moment in moments} >= {
        (phase, when) for phase in ("planning", "work", "finish") for when in ("before", "after", "later")
    }
    assert all(1 <= moment.number <= requests[moment.phase] for moment in moments)


@pytest.mark.parametrize(("number", "count"), [(signal.SIGKILL, 4), (signal.SIGTERM, 3)])
def test_killed_and_resumed(world: World, requests: Counter[Phase], number: signal.Signals, count: int) -> None:
    moments = draw_moments(int(number), count, requests)
    assert f"killed 1 in planning, {count - 2} in work, 1 in finish" in killed_and_resumed(
        world, number.name.lower(), moments, number
    )
