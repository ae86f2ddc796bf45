"""Parts that are damaged after they were written are refused by `finish`, and made again by `work`."""

from __future__ import annotations

from tests.jobs.faults.checks import assert_ended, assert_same
from tests.support.faults.damage import damaged_parts
from tests.support.faults.world import World


def test_damaged_parts(world: World) -> None:
    happened = damaged_parts(world, "damaged")
    assert_ended(happened, {name: 4 if name.startswith("finish with") else 0 for name in happened.commands})
    assert happened.facts["without effect"] == []
    assert happened.facts["named"] == happened.facts["damaged"]
    for name, state in happened.states.items():
        if name.startswith("refused"):
            assert state.status is None, name
        else:
            assert state.parts == world.undisturbed.parts, name
    assert_same(world, happened, "end")
