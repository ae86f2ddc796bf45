"""Parts that are damaged after they were written are refused by `finish`, and mended by `work`."""

from __future__ import annotations

from tests.support.faults.damage import damaged_parts
from tests.support.faults.world import World


def test_damaged_parts(world: World) -> None:
    damaged_parts(world, "damaged")
