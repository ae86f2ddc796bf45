"""Nodes of a Ray cluster that go away in mid-run take their parts with them, and others make these."""

from __future__ import annotations

import pytest

from tests.jobs.faults.checks import assert_ended
from tests.support.faults.nodes import killed_nodes
from tests.support.faults.world import World

pytest.importorskip("ray", reason="needs the extra `ray`")


def test_nodes_are_killed_and_replaced(world: World) -> None:
    happened = killed_nodes(world, "nodes", seed=1, seconds=0.0, nodes=2, copies=2, most_rounds=1)
    assert_ended(happened, {"local": 0, "end": 0})
    assert happened.facts["rounds"] == 1
    assert happened.states["end"].published
    assert happened.states["end"] == happened.states["local"]
