"""Killed at any moment and started again, a run ends with the bytes of one that was left alone."""

from __future__ import annotations

import signal
from collections import Counter

import pytest

from tests.jobs.faults.checks import assert_same, assert_whole_parts
from tests.support.faults.kills import Phase, count_requests, draw_moments, killed_and_resumed
from tests.support.faults.runs import read_state
from tests.support.faults.world import World


@pytest.fixture(scope="module")
def requests(world: World) -> Counter[Phase]:
    """The number of requests in each phase."""
    output = world.output("counted")
    counts = count_requests(world, output)
    assert read_state(output.folder) == world.undisturbed
    return counts


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
    happened = killed_and_resumed(world, number.name.lower(), draw_moments(int(number), count, requests), number)
    assert happened.facts["killed"] == {"planning": 1, "work": count - 2, "finish": 1}
    killed = 143 if number == signal.SIGTERM else -number
    for name, ended in happened.commands.items():
        assert ended.tidy, happened.said
        if name.endswith(("resumed", "escaped")):
            assert ended.code == 0, happened.said
            assert_same(world, happened, name)
        else:
            assert ended.code == killed, happened.said
            assert number == signal.SIGKILL or "run the same command again" in ended.stderr
    assert_whole_parts(world, happened)
