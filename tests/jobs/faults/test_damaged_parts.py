"""Parts that are damaged after they were written are refused by `finish`, and mended by `work`."""

from __future__ import annotations

from benchmarks.fault_tools.damage import damaged_parts
from benchmarks.fault_tools.world import World


def test_damaged_parts(world: World) -> None:
    damaged_parts(world, "damaged")
