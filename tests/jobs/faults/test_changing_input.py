"""An INPUT that changes after it was listed."""

from __future__ import annotations

from tests.support.faults.inputs import changed_between, changed_during
from tests.support.faults.world import World


def test_between_plan_and_work(world: World) -> None:
    changed_between(world, "changed-between")


def test_while_work_goes_on(world: World) -> None:
    changed_during(world, "changed-during")
